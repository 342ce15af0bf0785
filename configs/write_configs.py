# SPDX-License-Identifier: Apache-2.0
"""Write the configs of the three textual-inversion bundles, and lay out those of all bundles alike: ``make configs``.

The three bundles share one graph: ``train.json``, ``inference.json``, ``evaluate.json`` and ``metadata.json`` in
``textual_inversion/``. What differs between them is in the data parts beside it: ``prostate_mri.json``,
``chest_xray.json`` and ``histopathology.json``. A graph refers to its data part by a macro, as MONAI refers to a
section::

    "concepts": "%data::concepts"

- The macro is replaced by what the data part has under that name.
- Where the data part has no such name, the key or the list entry that the macro stands for is left out. What refers to
  a top-level key that is left out is left out too.
- Where the macro is an entry of a list and the name stands for a list, the entries of that list take its place.

Everything else is written as it is, MONAI's other macros included. What is written is complete: each bundle runs alone.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OVERLAYS = Path(__file__).resolve().parent
SOURCES = OVERLAYS / "textual_inversion"
BUNDLES = OVERLAYS.parent / "bundles"
GRAPHS = ("train", "inference", "evaluate", "metadata")
DATA_PARTS = ("prostate_mri", "chest_xray", "histopathology")
MACRO = re.compile(r"%data::(\w+)")
REFERENCE = re.compile(r"@(\w+)")
NAME = re.compile(r"(%data::)?\w+")
LINE_LENGTH = 120
INDENT = 4
LEFT_OUT = object()


def written_configs(folder: Path = SOURCES) -> dict[Path, str]:
    """Return the path and text of each of the twelve configs.

    Args:
        folder: holds the graphs and the data parts.

    Raises:
        ValueError: a graph asks for a name that no data part has, or a data part has a name that no graph asks for.
    """
    graphs = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in GRAPHS}
    parts = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in DATA_PARTS}
    asked = {name for graph in graphs.values() for name in macros(graph)}
    known = {name for part in parts.values() for name in part}
    if asked != known:
        raise ValueError(f"a graph and a data part must both have each name, got one of {sorted(asked ^ known)} alone")
    return {
        BUNDLES / f"{part}_textual_inversion" / "configs" / f"{graph}.json": formatted(filled(content, data))
        for graph, content in graphs.items()
        for part, data in parts.items()
    }


def macros(content: Any) -> Iterator[str]:
    """Yield the names that a graph asks its data part for.

    >>> list(macros({"seed": 0, "handlers": ["@saver", "%data::handlers"]}))
    ['handlers']
    """
    if isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from macros(value)
    elif isinstance(content, str) and (macro := MACRO.fullmatch(content)):
        yield macro[1]


def filled(graph: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Return a graph with its macros replaced by what a data part has.

    >>> filled({"a": "%data::a", "b": "%data::b", "c": ["x", "%data::c", "@b"]}, {"a": 1, "c": ["y", "z"]})
    {'a': 1, 'c': ['x', 'y', 'z']}
    """
    config: dict[str, Any] = _replaced(graph, data)
    left_out = graph.keys() - config.keys()
    without: dict[str, Any] = _without_references(config, left_out)
    return without


def _replaced(content: Any, data: dict[str, Any]) -> Any:
    if isinstance(content, dict):
        values = {key: _replaced(value, data) for key, value in content.items()}
        return {key: value for key, value in values.items() if value is not LEFT_OUT}
    if isinstance(content, list):
        entries: list[Any] = []
        for entry in content:
            value = _replaced(entry, data)
            is_list_of_data = isinstance(value, list) and not isinstance(entry, list)
            entries += value if is_list_of_data else [] if value is LEFT_OUT else [value]
        return entries
    macro = MACRO.fullmatch(content) if isinstance(content, str) else None
    return content if macro is None else data.get(macro[1], LEFT_OUT)


def _without_references(content: Any, keys: set[str]) -> Any:
    def is_kept(value: Any) -> bool:
        is_resolved = isinstance(value, str) and value.startswith(("@", "$"))
        return not is_resolved or keys.isdisjoint(REFERENCE.findall(value))

    if isinstance(content, dict):
        return {key: _without_references(value, keys) for key, value in content.items() if is_kept(value)}
    if isinstance(content, list):
        return [_without_references(value, keys) for value in content if is_kept(value)]
    return content


def formatted(config: dict[str, Any]) -> str:
    """Return a config as JSON text.

    What fits in 120 columns is on one line, where at most one of its values is an object or a list in turn. A list of
    names that does not fit fills its lines.

    >>> print(formatted({"seed": 0, "loader": {"size": 1, "keys": ["a", "b"]}, "parts": [{"a": 1}, {"b": 2}]}), end="")
    {
        "seed": 0,
        "loader": {"size": 1, "keys": ["a", "b"]},
        "parts": [
            {"a": 1},
            {"b": 2}
        ]
    }
    """
    return _text(config, "", 0) + "\n"


def _text(content: Any, name: str, indent: int) -> str:
    """Return the text of an entry that stands ``indent`` spaces from the left."""
    line = name + json.dumps(content, ensure_ascii=False)
    if not isinstance(content, dict | list) or not content or (indent and _is_flat(content) and _fits(line, indent)):
        return line
    inner = indent + INDENT
    if isinstance(content, dict):
        entries = [_text(value, f"{json.dumps(key, ensure_ascii=False)}: ", inner) for key, value in content.items()]
    else:
        entries = [_text(value, "", inner) for value in content]
    opening, closing = "{}" if isinstance(content, dict) else "[]"
    separator = ",\n" + " " * inner
    body = _filled_lines(entries, inner) if _are_names(content) else entries
    return f"{name}{opening}{separator[1:]}{separator.join(body)}\n{' ' * indent}{closing}"


def _is_flat(content: dict[str, Any] | list[Any]) -> bool:
    """Return whether at most one value is an object or a list, and that one holds plain values."""
    nested = _nested(content)
    return not nested or (len(nested) == 1 and not _nested(nested[0]))


def _nested(content: dict[str, Any] | list[Any]) -> list[Any]:
    values = content.values() if isinstance(content, dict) else content
    return [value for value in values if isinstance(value, dict | list) and value]


def _are_names(content: dict[str, Any] | list[Any]) -> bool:
    return isinstance(content, list) and all(isinstance(value, str) and NAME.fullmatch(value) for value in content)


def _filled_lines(entries: list[str], indent: int) -> list[str]:
    """Return short entries joined to lines as long as there is room for."""
    lines: list[str] = []
    for entry in entries:
        if lines and _fits(f"{lines[-1]}, {entry}", indent):
            lines[-1] += f", {entry}"
        else:
            lines.append(entry)
    return lines


def _fits(line: str, indent: int) -> bool:
    return indent + len(line) < LINE_LENGTH  # a comma follows


def hand_written_configs() -> list[Path]:
    """Return the paths of the configs that are not written from the graph and the data parts."""
    folders = [OVERLAYS, SOURCES, *BUNDLES.glob("*/configs")]
    return sorted({path for folder in folders for path in folder.glob("*.json")} - written_configs().keys())


def main() -> None:
    """Write the twelve configs and lay out the others."""
    laid_out = {path: formatted(json.loads(path.read_text(encoding="utf-8"))) for path in hand_written_configs()}
    for path, text in (laid_out | written_configs()).items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
