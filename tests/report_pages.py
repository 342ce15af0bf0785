# SPDX-License-Identifier: Apache-2.0
"""What a report's HTML refers to, and whether it would run anything."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser

from medti_components.visualize.report import Report, Section

LOADING = ("src", "srcset", "href", "xlink:href", "data", "poster", "action", "background")


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.active: list[str] = []
        self.pictures: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in LOADING]
        self.found += re.findall(r"url\(([^)]*)\)", dict(attrs).get("style") or "")
        self.active += [tag] if tag in ("script", "iframe", "object", "embed", "form", "base") else []
        self.active += [name for name, _ in attrs if name.startswith("on")]
        self.pictures += [dict(attrs)] if tag == "img" else []


def _read(page: str) -> _References:
    parser = _References()
    parser.feed(page)
    for style in re.findall("<style>(.*?)</style>", page, re.DOTALL):
        parser.found += re.findall(r"url\(([^)]*)\)", style) + re.findall(r"@import\s+(\S+)", style)
    return parser


def page_of(sections: Sequence[Section]) -> str:
    """Return a report of some sections alone."""
    report = Report("A report")
    report.add(sections)
    return report.render()


def outside_references(page: str) -> list[str]:
    """Return what a page refers to outside itself: neither data in it nor a place in it."""
    return [each for each in _read(page).found if not each.startswith(("data:image/png;base64,", "#"))]


def active_content(page: str) -> list[str]:
    """Return the elements and attributes of a page that run or frame something."""
    return _read(page).active


def alternative_texts(page: str) -> list[str]:
    """Return the alt texts of a page's pictures, empty where one has none."""
    return [each.get("alt") or "" for each in _read(page).pictures]
