# SPDX-License-Identifier: Apache-2.0
"""The command ``key_tables``: the tables of keys in README pages, from the configs and their schema.

A table stands between two lines of a page; its first line names the config, and the keys where not all are wanted::

    <!-- keys of configs/train.json: seed, device -->
    <!-- end of keys -->
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medti_components.bundle.values import is_expression
from medti_components.errors import BundleError, ConfigError
from medti_components.files import write_text_atomically

END = "<!-- end of keys -->"
TABLE = re.compile(
    rf"^<!-- keys of (?P<config>[\w./-]+\.json)(?:: (?P<keys>[\w, ]+))? -->\n.*?^{re.escape(END)}$",
    re.MULTILINE | re.DOTALL,
)
COMMAND = "python -m medti_components key_tables"


def key_tables(*, check: bool = False) -> str:
    """Write the tables of keys in README.md and bundles/*/docs/README.md anew.

    Args:
        check: write nothing, and fail if a table is not up to date.
    """
    roots = {path: path.parent for path in [Path("README.md")] if path.is_file()}
    roots |= {path: path.parents[1] for path in sorted(Path("bundles").glob("*/docs/README.md"))}
    if not roots:
        raise BundleError(f"there is no README.md in '{Path.cwd()}': run key_tables from the repository's root")
    pages = {path: path.read_text(encoding="utf-8") for path in roots}
    renewed = {path: with_key_tables(text, roots[path]) for path, text in pages.items()}
    old = [path for path, text in pages.items() if renewed[path] != text]
    if check and old:
        raise BundleError(f"tables of keys are not up to date in {', '.join(map(str, old))}: run {COMMAND}")
    for path in old:
        write_text_atomically(path, renewed[path])
    return f"wrote {', '.join(map(str, old))}" if old else "the tables of keys are up to date"


def with_key_tables(page: str, folder: Path) -> str:
    """Return a page with its tables of keys filled.

    Args:
        page: Markdown.
        folder: what the paths of configs in it are relative to.

    Raises:
        ConfigError: the page names a config or key that is missing, or a key without description.

    >>> with_key_tables("a page without tables", Path())
    'a page without tables'
    """

    from monai.bundle import ConfigParser

    from medti_components.bundle.schema import ConfigSchema

    def filled(found: re.Match[str]) -> str:
        path = folder / found["config"]
        if not path.is_file():
            raise ConfigError(f"a page asks for the keys of '{path}', which is not there: correct the line")
        names = re.findall(r"\w+", found["keys"] or "")
        table = key_table(ConfigParser.load_config_file(path), ConfigSchema(path.parents[1]).keys(path.name), names)
        return f"{found[0].partition(chr(10))[0]}\n{table}\n{END}"

    return TABLE.sub(filled, page)


def key_table(config: Mapping[str, Any], described: Mapping[str, Mapping[str, Any]], names: Sequence[str] = ()) -> str:
    """Return a Markdown table of a config's keys: default and meaning.

    Args:
        config: content of a config.
        described: schemas of its keys.
        names: keys to be shown, in this order; all that a user sets where empty.

    Raises:
        ConfigError: a key is not there, or not described.

    >>> print(key_table({"seed": 0}, {"seed": {"description": "of the noise", "unit": "none"}}))
    | key | default | meaning |
    |---|---|---|
    | `seed` | `0` | of the noise (none) |
    """
    from medti_components.bundle.keys import setting_keys

    lines = ["| key | default | meaning |", "|---|---|---|"]
    for key in names or setting_keys(config):
        if key not in config or "description" not in described.get(key, {}):
            raise ConfigError(f"key '{key}' must be in the config and described in docs/keys.schema.json: correct it")
        cells = (f"`{key}`", _default(config[key]), _meaning(described[key]))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def _default(value: Any) -> str:
    """Return a default as a cell shows it.

    >>> [_default(value) for value in (None, True, "", "a", ["a"], "@seed", "$1 + 1")]
    ['`null`', '`true`', 'empty', '`a`', '`["a"]`', 'as `seed`', 'computed']
    """
    if isinstance(value, str) and is_expression(value):
        return f"as `{value[1:]}`" if re.fullmatch(r"@\w+", value) else "computed"
    if value == "":
        return "empty"
    return f"`{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}`"


def _meaning(described: Mapping[str, Any]) -> str:
    """Return the description with unit (where it is not in there), range and choices.

    >>> _meaning({"description": "edge", "unit": "mm"}), _meaning({"description": "share", "minimum": 0, "maximum": 1})
    ('edge (mm)', 'share (0 to 1)')
    """
    unit = str(described.get("unit", ""))
    facts = [unit] if unit and unit not in described["description"] else []
    if "minimum" in described and "maximum" in described:
        facts.append(f"{described['minimum']} to {described['maximum']}")
    if "enum" in described:
        facts.append(", ".join(f"`{value}`" for value in described["enum"]))
    return f"{described['description']} ({'; '.join(facts)})" if facts else str(described["description"])
