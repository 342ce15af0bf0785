# SPDX-License-Identifier: Apache-2.0
"""What a report is made of: one HTML page that needs nothing else, its tables of figures and its pictures."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from medti_components.metrics.interval_estimate import IntervalEstimate

FURTHER_SECTIONS = "<!-- further sections -->"
"""Stands in a page where :func:`add_sections` puts sections; text of users is escaped and can't hold it."""

HOW_TO_READ = (
    "<p>Figures come with the number of images behind them, n, and an interval of the values that these images agree "
    "with, at the confidence given: few images, wide intervals. Where the difference of two figures is given, they are "
    "shown to differ if its interval leaves out 0.</p>"
)
"""Stands above the sections of a page of figures."""

# The browser itself keeps the page from loading or running anything.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_VERDICT, _FURTHER_SUMMARY = "<!-- verdict -->", "<!-- further summary -->"
_CONTENTS = re.compile("<nav.*?</nav>", re.DOTALL)
_HEADING = re.compile(r'(?:<a id="section-\d+"></a>)?<h2>(.*?)</h2>', re.DOTALL)

_STYLE = """
:root { color-scheme: light dark; --text: #1d1d1f; --faint: #5a5a60; --line: #d0d0d5; --page: #fff; --shade: #f3f3f6;
  --good: #17692f; --bad: #a4161a; }
@media (prefers-color-scheme: dark) { :root { --text: #e8e8ea; --faint: #a9a9b0; --line: #45454c; --page: #17171a;
  --shade: #232327; --good: #7ad394; --bad: #ff9a93; } }
body { font: 16px/1.5 sans-serif; max-width: 64em; margin: 2em auto; padding: 0 1em; color: var(--text);
  background: var(--page); }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2.2em; border-top: 1px solid var(--line); padding-top: .8em; }
p, li { max-width: 46em; } a { color: inherit; }
.warning { color: var(--faint); } .verdict { border-left: .4em solid; padding: .5em 1em; font-weight: bold;
  background: var(--shade); } .good { border-color: var(--good); } .bad { border-color: var(--bad); }
.summary, nav { background: var(--shade); padding: .1em 1.2em; margin: 1em 0; }
.summary h2 { border: 0; margin-top: .4em; padding-top: 0; }
.table { overflow-x: auto; margin: 1em 0; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .35em .9em .35em 0; text-align: left; vertical-align: top; }
.figures td:nth-of-type(-n+2) { white-space: nowrap; }
thead th { border-bottom-width: 2px; } tbody th { font-weight: normal; }
figure { margin: 1.2em 0; } img { max-width: 100%; height: auto; background: #fff; } figcaption { color: var(--faint); }
@media print { nav { display: none; } figure, tr { break-inside: avoid; } }
""".strip()


def report_page(
    title: str,
    parts: Sequence[str],
    warning: str = "Synthetic images, for research. Not for diagnosis.",
    summary: Sequence[str] = (),
) -> str:
    """Return the page of HTML ``parts`` under a title, a warning, a summary and a list of the parts' h2 headings.

    The page takes nothing from elsewhere and runs nothing.

    Args:
        title: of the page.
        parts: HTML; each h2 begins a section.
        warning: stands beneath the title.
        summary: plain sentences, the most important first; more may be added by :func:`add_sections`.

    >>> page = report_page("Figures", ["<h2>Distance</h2><p>None.</p>"], summary=["All is well."])
    >>> "<h1>Figures</h1>" in page and '<li><a href="#section-1">Distance</a></li>' in page
    True
    """
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>",
            f'<p class="warning">{escape(warning)}</p>',
            _VERDICT,
            _FURTHER_SUMMARY,
            '<nav aria-label="Contents"></nav>',
            *parts,
        ]
    )
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )
    for sentence in summary:
        page = _summarized(page, sentence)
    return _with_contents(page)


def add_sections(page: str, parts: Sequence[str], summary: str = "") -> str:
    """Return a page with further HTML ``parts`` where ``FURTHER_SECTIONS`` stands, after those added before.

    A sentence of ``summary`` is added to those at the head of the page.

    >>> page = report_page("Figures", [FURTHER_SECTIONS])
    >>> add_sections(add_sections(page, ["<p>1"]), ["<p>2"]).count("<p>1\\n<p>2")
    1
    """
    page = page.replace(FURTHER_SECTIONS, "\n".join([*parts, FURTHER_SECTIONS]), 1)
    return _with_contents(_summarized(page, summary) if summary else page)


def add_verdict(page: str, verdict: str, is_good: bool) -> str:
    """Return a page with a verdict, text, above all else; it takes the place of an earlier one.

    >>> page = add_verdict(report_page("Figures", []), "not safe to share: 3 copies", is_good=False)
    >>> '<p class="verdict bad">Verdict: not safe to share: 3 copies</p>' in page
    True
    """
    line = f'<p class="verdict {"good" if is_good else "bad"}">Verdict: {escape(verdict)}</p>'
    return re.sub(f"{_VERDICT}.*", lambda _: _VERDICT + line, page, count=1)


def _summarized(page: str, sentence: str) -> str:
    """Return a page with one more sentence in its summary, which is begun with the first."""
    before, _, after = page.partition(_FURTHER_SUMMARY)
    if '<section class="summary">' not in before:
        before += '<section class="summary"><h2>In short</h2><ul>'
        after = f"</ul></section>{after}"
    return f"{before}\n<li>{escape(sentence)}</li>{_FURTHER_SUMMARY}{after}"


def _with_contents(page: str) -> str:
    """Return a page whose h2 headings, but for the summary's, are numbered and listed in its nav."""
    head, nav, body = page.partition("</nav>")
    titles: list[str] = []

    def numbered(heading: re.Match[str]) -> str:
        titles.append(heading[1])
        return f'<a id="section-{len(titles)}"></a><h2>{heading[1]}</h2>'

    body = _HEADING.sub(numbered, body)
    lines = "".join(f'<li><a href="#section-{number}">{each}</a></li>' for number, each in enumerate(titles, start=1))
    contents = f'<nav aria-label="Contents"><ul>{lines}</ul></nav>'
    return _CONTENTS.sub(lambda _: contents, head + nav, count=1) + body


def picture(png: bytes, caption: str, alternative: str | None = None) -> str:
    """Return a PNG, embedded, with its caption."""
    data = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{escape(caption if alternative is None else alternative)}" '
        f'src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def figures_table(rows: Sequence[tuple[str, IntervalEstimate | None]], heading: str, first: str = "images") -> str:
    """Return a table of figures with interval and n; ``heading`` is what they are, ``first`` what the rows are.

    >>> "<td>0.500</td><td>0.400 to 0.600</td><td>9 real</td>" in figures_table(
    ...     [("all", IntervalEstimate(0.5, 0.4, 0.6, {"real": 9}, "exact"))], "share"
    ... )
    True
    """
    cells = []
    for name, figure in rows:
        if figure is None:
            cells.append([name, "undetermined", "", "", ""])
            continue
        value, _, interval = str(figure).partition(" ")
        counts = ", ".join(f"{count} {group}" for group, count in figure.counts.items())
        how = f"{figure.confidence:.0%}, {figure.method}"
        cells.append([name, value, interval.strip("[]").replace(", ", " to "), counts, how])
    return _table([first, heading, "interval", "n", "how"], cells, "table figures")


def plain_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of text; the first cell of a row says what the row is; no ``headings``, no row of them.

    >>> "<tbody><tr><th scope=\\"row\\">a</th><td>1</td></tr></tbody>" in plain_table(["name", "value"], [["a", "1"]])
    True
    """
    return _table(headings, rows, "table")


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], classes: str) -> str:
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = ""
    for first, *others in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        body += f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>'
    thead = f"<thead><tr>{head}</tr></thead>" if headings else ""
    scrolled = 'tabindex="0" role="region" aria-label="Table"'  # wider than the window: by arrow keys too
    return f'<div class="{classes}" {scrolled}><table>{thead}<tbody>{body}</tbody></table></div>'


def settings_table(settings: Mapping[str, Any]) -> str:
    """Return a table of settings as they are."""
    return plain_table([], [(str(name), str(value)) for name, value in settings.items()])


def grid_png(columns: Sequence[Tensor], smallest_edge: int = 128, in_colour: bool = False) -> bytes:
    """Return images as a PNG, a column each: channels (H, W) in [-1, 1] one below the other, in grey.

    Args:
        columns: (channels, H, W) each, all of one shape.
        smallest_edge: small images are enlarged to about as many pixels.
        in_colour: the three channels are red, green and blue, and make one picture.
    """
    if in_colour:
        pixels = torch.cat([column.permute(1, 2, 0) for column in columns], dim=1)
    else:
        pixels = torch.cat([torch.cat(list(column), dim=0) for column in columns], dim=1)
    shown = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
    scale = max(1, smallest_edge // columns[0].shape[-1])
    buffer = io.BytesIO()
    Image.fromarray(shown.repeat(scale, axis=0).repeat(scale, axis=1)).save(buffer, format="PNG")
    return buffer.getvalue()


def plot_png(figure: Figure) -> bytes:
    """Return a plot as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
