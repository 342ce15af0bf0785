# SPDX-License-Identifier: Apache-2.0
"""What a report is made of: one HTML page that needs nothing else, its tables of figures and its pictures."""

import base64
import io
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

_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; } th, td { border-bottom: 1px solid #ccc; padding: .3em .8em; text-align: left; }
figure { margin: 1em 0; } img { max-width: 100%; } figcaption { color: #555; }
""".strip()


def report_page(
    title: str, parts: Sequence[str], warning: str = "Synthetic images, for research. Not for diagnosis."
) -> str:
    """Return the page of HTML ``parts`` under a title and a warning.

    >>> "<h1>Figures</h1>" in report_page("Figures", ["<p>None.</p>"])
    True
    """
    heading = f"<h1>{escape(title)}</h1>"
    body = "\n".join([heading, f"<p>{escape(warning)}</p>", *parts])
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def add_sections(page: str, parts: Sequence[str]) -> str:
    """Return a page with further HTML ``parts`` where ``FURTHER_SECTIONS`` stands, after those added before.

    >>> page = report_page("Figures", [FURTHER_SECTIONS])
    >>> add_sections(add_sections(page, ["<p>1"]), ["<p>2"]).count("<p>1\\n<p>2")
    1
    """
    return page.replace(FURTHER_SECTIONS, "\n".join([*parts, FURTHER_SECTIONS]), 1)


def picture(png: bytes, caption: str, alternative: str | None = None) -> str:
    """Return a PNG, embedded, with its caption."""
    data = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{escape(caption if alternative is None else alternative)}" '
        f'src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def figures_table(rows: Sequence[tuple[str, IntervalEstimate | None]], heading: str, first: str = "images") -> str:
    """Return a table of figures with n and interval; ``heading`` is what they are, ``first`` what the rows are."""
    cells = [f"<tr><th>{escape(first)}</th><th>{escape(heading)}</th><th>n</th><th>interval</th></tr>"]
    for name, figure in rows:
        if figure is None:
            cells.append(f"<tr><td>{escape(name)}</td><td>undetermined</td><td></td><td></td></tr>")
            continue
        counts = ", ".join(f"{count} {group}" for group, count in figure.counts.items())
        cells.append(
            f"<tr><td>{escape(name)}</td><td>{escape(str(figure))}</td><td>{escape(counts)}</td>"
            f"<td>{figure.confidence:.0%}, {escape(figure.method)}</td></tr>"
        )
    return f"<table>{''.join(cells)}</table>"


def settings_table(settings: Mapping[str, Any]) -> str:
    """Return a table of settings as they are."""
    rows = (f"<tr><td>{escape(str(name))}</td><td>{escape(str(value))}</td></tr>" for name, value in settings.items())
    return f"<table>{''.join(rows)}</table>"


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
