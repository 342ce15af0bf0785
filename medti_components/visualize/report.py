# SPDX-License-Identifier: Apache-2.0
"""A report: sections of text, tables and pictures, rendered as one HTML page that needs nothing else."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from medti_components.files import write_text_atomically
from medti_components.visualize.tables import Table, settings_table

HOW_TO_READ = (
    "Figures come with the number of images behind them, n, and an interval of the values that these images agree "
    "with, at the confidence given: few images, wide intervals. Where the difference of two figures is given, they are "
    "shown to differ if its interval leaves out 0."
)
"""Stands above the sections of a report of metrics."""

_TEMPLATE = Path(__file__).with_suffix(".html")


@dataclass(frozen=True)
class Subheading:
    """A heading within a section."""

    kind: ClassVar[str] = "subheading"
    text: str


@dataclass(frozen=True)
class Picture:
    """A picture or plot.

    Args:
        png: its file's content.
        caption: stands beneath it.
        alternative: says what it shows to whom can't see it; None for the caption.
    """

    kind: ClassVar[str] = "picture"
    png: bytes
    caption: str
    alternative: str | None = None

    @property
    def source(self) -> str:
        """The picture as an address that holds it."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


Block = str | Subheading | Table | Picture
"""What a section is made of; a string is a paragraph."""


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Args:
        title: its heading, which the contents list; None for blocks without one.
        blocks: paragraphs, subheadings, tables and pictures in their order.
    """

    title: str | None
    blocks: Sequence[Block] = ()


def phantoms_named(text: object) -> str:
    """Call phantoms what a text calls real images.

    >>> phantoms_named("Real images beside other real ones, a real patch, and 9 real")
    'Phantoms beside other phantoms, a phantom, and 9 phantom'
    """

    def name(found: re.Match[str]) -> str:
        word = "phantoms" if (found[2] or "").endswith("s") else "phantom"
        return word.capitalize() if found[1][0].isupper() else word

    return re.sub(r"\b([Rr]eal)\b(?: (images?|ones?|pictures?|studies|patch(?:es)?|radiographs?)\b)?", name, str(text))


class Report:
    """A page that grows section by section; settings stand last.

    The page takes nothing from elsewhere and runs nothing. All text is escaped.

    Args:
        title: of the page.
        warning: stands beneath the title.
        settings: shown as they are, in a section of their own; None for no such section.
        phantoms: what the images called real are, where they are no patients'; the page calls them phantoms.

    >>> report = Report("Metrics")
    >>> report.add([Section("Distance < 1", ["None."])], ["All is well."])
    >>> page = report.render()
    >>> "<h1>Metrics</h1>" in page and '<li><a href="#section-1">Distance &lt; 1</a></li>' in page
    True
    """

    def __init__(
        self,
        title: str,
        warning: str = "Synthetic images, for research. Not for diagnosis.",
        settings: Mapping[str, Any] | None = None,
        phantoms: str = "",
    ) -> None:
        self.title = title
        self.warning = warning
        self.phantoms = phantoms
        self.settings = None if settings is None else dict(settings)
        self.sections: list[Section] = []
        self.summary: list[str] = []
        self.verdicts: dict[str, tuple[str, str]] = {}

    def add(self, sections: Sequence[Section], summary: Sequence[str] = ()) -> None:
        """Add sections, and sentences to the summary at the head of the page."""
        self.sections += sections
        self.summary += summary

    def judge(self, about: str, verdict: str, is_good: bool | None) -> None:
        """Put a verdict above all else; it takes the place of an earlier one about the same. None is neither."""
        self.verdicts[about] = verdict, {True: "good", False: "bad", None: "open"}[is_good]

    def render(self) -> str:
        """Return the page."""
        sections = list(self.sections)
        if self.settings is not None:
            sections.append(Section("Settings", [settings_table(self.settings)]))
        environment = Environment(
            loader=FileSystemLoader(_TEMPLATE.parent),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            undefined=StrictUndefined,
        )
        environment.filters["named"] = phantoms_named if self.phantoms else str
        return environment.get_template(_TEMPLATE.name).render(
            title=self.title,
            warning=self.warning,
            phantoms=self.phantoms,
            verdicts=self.verdicts,
            summary=self.summary,
            sections=sections,
            titles=[section.title for section in sections if section.title is not None],
        )

    def write(self, path: Path) -> None:
        """Write the page.

        Raises:
            OutputError: the file can't be written.
        """
        write_text_atomically(path, self.render())
