# SPDX-License-Identifier: Apache-2.0
"""Write the configs of the three textual-inversion bundles: ``make configs``.

The bundles share one graph: ``train.json``, ``inference.json`` and ``evaluate.json`` in this folder. What differs
between them is in three data parts: ``prostate_mri.json``, ``chest_xray.json`` and ``histopathology.json``. A graph
refers to the data part as MONAI refers to a section, by a macro::

    "concepts": "%data::concepts"

- The macro is replaced by what the data part has under that name.
- Where the data part has no such name, the key or the list entry that the macro stands for is left out.
- Where the macro is an entry of a list and the name stands for a list, the entries of that list take its place.

Everything else is written as it is, MONAI's other macros included. What is written is complete: each bundle runs alone.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
BUNDLES = FOLDER.parents[1] / "bundles"
GRAPHS = ("train", "inference", "evaluate")
DATA_PARTS = ("prostate_mri", "chest_xray", "histopathology")
MACRO = re.compile(r"%data::(\w+)")
LINE_LENGTH = 120
INDENT = 4
LEFT_OUT = object()


def written_configs(folder: Path = FOLDER) -> dict[Path, str]:
    """Return the path and text of each of the nine configs.

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


def filled(content: Any, data: dict[str, Any]) -> Any:
    """Return a graph with its macros replaced by what a data part has.

    >>> filled({"a": "%data::a", "b": "%data::b", "c": ["x", "%data::c"]}, {"a": 1, "c": ["y", "z"]})
    {'a': 1, 'c': ['x', 'y', 'z']}
    """
    if isinstance(content, dict):
        values = {key: filled(value, data) for key, value in content.items()}
        return {key: value for key, value in values.items() if value is not LEFT_OUT}
    if isinstance(content, list):
        entries: list[Any] = []
        for entry in content:
            value = filled(entry, data)
            is_list_of_data = isinstance(value, list) and not isinstance(entry, list)
            entries += value if is_list_of_data else [] if value is LEFT_OUT else [value]
        return entries
    macro = MACRO.fullmatch(content) if isinstance(content, str) else None
    return content if macro is None else data.get(macro[1], LEFT_OUT)


def formatted(config: dict[str, Any]) -> str:
    """Return a config as JSON text: what holds plain values alone is on one line where it fits.

    >>> print(formatted({"seed": 0, "loader": {"batch_size": 1, "keys": ["image", "label"]}}), end="")
    {
        "seed": 0,
        "loader": {
            "batch_size": 1,
            "keys": ["image", "label"]
        }
    }
    """
    return _lines(config, 0, LINE_LENGTH) + "\n"


def _lines(content: Any, indent: int, room: int) -> str:
    """Return the text of a value: ``indent`` is the number of spaces before a closing bracket."""
    is_object = isinstance(content, dict)
    if not content or not isinstance(content, dict | list):
        return json.dumps(content, ensure_ascii=False)
    values = list(content.values()) if isinstance(content, dict) else content
    line = json.dumps(content, ensure_ascii=False)
    if indent and len(line) <= room and not any(isinstance(value, dict | list) and value for value in values):
        return line
    inner = indent + INDENT
    names = [f"{json.dumps(key, ensure_ascii=False)}: " for key in content] if is_object else [""] * len(values)
    entries = (
        f"{' ' * inner}{name}{_lines(value, inner, LINE_LENGTH - inner - len(name) - 1)}"
        for name, value in zip(names, values, strict=True)
    )
    opening, closing = "{}" if is_object else "[]"
    return "\n".join((opening, ",\n".join(entries), f"{' ' * indent}{closing}"))


def main() -> None:
    """Write the nine configs."""
    for path, text in written_configs().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
