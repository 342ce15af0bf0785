# SPDX-License-Identifier: Apache-2.0
"""The rooms of ``docs/architecture.md``: an import goes down their list, never up, never in a circle."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "medti_components"
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOMS = re.findall(r"^\| `(\w+)/` \|", PAGE, flags=re.MULTILINE)
MOST_SIBLINGS = 20
MOST_LINES = 400


def modules() -> dict[str, Path]:
    """Return path by dotted name; a package is its ``__init__``."""
    paths = SOURCE.rglob("*.py")
    names = {".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path for path in paths}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Return which of the ``known`` modules a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in known else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known.keys()


def room(name: str) -> str:
    """Return the room of a module, "" for the few that every room may import."""
    first = name.removeprefix("medti_components").strip(".").partition(".")[0]
    return first if (SOURCE / first).is_dir() else ""


def test_every_folder_is_a_room_of_the_page():
    folders = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(ROOMS)


def test_an_import_goes_down_the_list():
    known = modules()
    upward = [
        f"{name} -> {target}"
        for name, path in known.items()
        for target in imports(path, known)
        if room(name) and room(target) and ROOMS.index(room(target)) < ROOMS.index(room(name))
    ]
    assert not upward


def test_the_root_imports_no_room_but_its_command_line():
    known = modules()
    for name in ("errors", "files", "random_streams"):
        assert not [target for target in imports(SOURCE / f"{name}.py", known) if room(target)]


def test_no_import_goes_in_a_circle():
    known = modules()
    try:
        TopologicalSorter({name: imports(path, known) - {name} for name, path in known.items()}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_folder_is_crowded_and_no_file_is_long():
    folders = [SOURCE, *(path for path in SOURCE.rglob("*") if (path / "__init__.py").is_file())]
    for folder in folders:
        siblings = [path for path in folder.iterdir() if path.suffix == ".py" and path.name != "__init__.py"]
        assert len(siblings) <= MOST_SIBLINGS, folder
    for path in SOURCE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, path


def test_what_every_run_begins_with_imports_none_of_the_components():
    """A misspelt key is told as soon as MONAI itself is imported, before diffusers and what else a run needs."""
    begun = {"medti_components.bundle.run"}
    waiting = [*begun]
    while waiting:
        tree = ast.parse(modules()[waiting.pop()].read_text(encoding="utf-8"))
        at_once = {node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module}
        found = {name for name in at_once if name.startswith("medti_components")} - begun
        begun |= found
        waiting += found
    assert {room(name) for name in begun} == {"bundle", ""}
    assert "medti_components.bundle.dry_run.report" not in begun
