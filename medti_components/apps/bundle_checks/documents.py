# SPDX-License-Identifier: Apache-2.0
"""What people read: the page, the licences, and that nothing tells on whose machine it was written."""

import re
from collections.abc import Iterator
from pathlib import Path

from medti_components.apps.bundle_checks.bundle import Bundle, entries

SECTIONS = ("overview", "data", "performance")
LICENCES = ("LICENSE", "docs/data_license.txt")
ROOTS = "home|Users|root|mnt|media|tmp|var|opt|srv|scratch|work|workspace|private|Volumes"
PERSONAL_PATH = re.compile(rf"(?<![\w.:/\\$}}<~-])(?:/(?:{ROOTS})/|~/|[A-Z]:[\\/]\w)[^\s'\"`)]*|file://\S*")
ABSOLUTE_PATH = re.compile(r"/|~|[A-Za-z]:[\\/]|.*[/'\"](?:home|root|work|mnt|data|Users)/", re.DOTALL)


def docs(bundle: Bundle) -> Iterator[str]:
    """The page has its sections, a command for each config, and links to files that are there."""
    page = bundle.folder / "docs" / "README.md"
    if not page.is_file():
        yield "docs/README.md is missing: write it"
        return
    text = page.read_text(encoding="utf-8", errors="replace")
    headings = " ".join(re.findall(r"^#+ (.*)$", text, re.MULTILINE)).lower()
    for section in SECTIONS:
        if not re.search(rf"\b{section}\b", headings):
            yield f"docs/README.md has no section on {section}: add a heading '## {section.capitalize()}'"
    commands = [block for block in re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE) if "bundle run" in block]
    for name in bundle.configs:
        if not any(f"configs/{name}" in command for command in commands):
            yield f"docs/README.md shows no command that runs configs/{name}: add a block with 'monai.bundle run'"
    for link in re.findall(r"\]\((?!\w+:)([^)#\s]+)", text):
        target = (page.parent / link).resolve()
        if not target.exists():
            yield f"docs/README.md links to '{link}', which is not there: correct the link"
        elif bundle.is_packaged and not target.is_relative_to(bundle.folder.resolve()):
            yield f"docs/README.md links to '{link}', outside of the bundle: link to a web address"


def licence(bundle: Bundle) -> Iterator[str]:
    """The licence of code and weights and the terms of the data are told."""
    for name in LICENCES:
        path = bundle.folder / name
        if not path.is_file():
            yield f"{name} is missing: add it"
        elif not path.read_text(encoding="utf-8", errors="replace").strip():
            yield f"{name} is empty: write the terms"


def paths(bundle: Bundle) -> Iterator[str]:
    """No config or overlay has an absolute path, and no text file one that belongs to somebody's machine."""
    for name, config in {**bundle.configs, **bundle.overlays}.items():
        for place, value in entries(config):
            if isinstance(value, str) and not place.endswith("_desc_") and ABSOLUTE_PATH.match(value):
                yield f"configs/{name}: {place}: absolute path '{value}': make it relative, or a key to be set"
    for path in bundle.files():
        text = _text(path)
        for number, line in enumerate(text.splitlines() if text else (), start=1):
            if found := PERSONAL_PATH.search(line):
                yield f"{bundle.short(path)}, line {number}: path of a machine '{found[0]}': leave it out"


def _text(path: Path) -> str | None:
    """Return what a text file holds; None for binary ones and links that lead nowhere."""
    if not path.is_file():
        return None
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
