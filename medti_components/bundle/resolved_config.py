# SPDX-License-Identifier: Apache-2.0
"""The config that is being run, as JSON: what a run's folder keeps and an embedding's metadata quotes."""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver
from monai.bundle.utils import ID_SEP_KEY

from medti_components.bundle.run import running


def resolved_config() -> dict[str, Any]:
    """Return the running config with overlays and overrides merged, and its plain values computed.

    Values that are expressions of other plain values (``"$@output_dir + '/cache'"``) are replaced by what they give;
    components stay as they are written. Empty where no config is being run.

    >>> resolved_config()
    {}
    """
    parser = running(ConfigParser)
    return {} if parser is None else plain_values(parser)


def settings(keys: Sequence[str], **others: Any) -> dict[str, Any]:
    """Return the values of top-level keys of the running config: what is recorded of a run beside its results.

    Args:
        keys: names of the keys.
        others: what is recorded too.

    >>> settings(["seed"], steps=2)  # no config is being run
    {'steps': 2}
    """
    parser = running(ConfigParser)
    values = {} if parser is None else {key: parser.get_parsed_content(key) for key in keys}
    return values | others


def config_section(key: str, without: Sequence[str] = ()) -> str:
    """Return one section of the running config as JSON on one line, "" where no config is being run.

    Expressions in it are replaced by the plain values that they give.

    Args:
        key: of the section.
        without: keys in it that are left out, such as those that stand for objects.

    >>> config_section("preprocessing")
    ''
    """
    parser = running(ConfigParser)
    if parser is None or key not in parser:
        return ""
    section = {name: value for name, value in parser[key].items() if name not in without}
    return json.dumps(_resolved(parser, key, section))


def _resolved(parser: ConfigParser, name: str, content: Any) -> Any:
    """Return what stands under an id, with its expressions computed; components stay as they are written."""
    if isinstance(content, dict):
        return {key: _resolved(parser, f"{name}{ID_SEP_KEY}{key}", value) for key, value in content.items()}
    if isinstance(content, list):
        return [_resolved(parser, f"{name}{ID_SEP_KEY}{index}", value) for index, value in enumerate(content)]
    if isinstance(content, str) and content.startswith(("$", "@")):
        value = parser.get_parsed_content(name)
        return value if isinstance(value, bool | int | float | str | list | None) else str(value)
    return content


def plain_values(parser: ConfigParser) -> dict[str, Any]:
    """Return the parser's config with top-level expressions of plain values computed.

    >>> plain_values(ConfigParser({"a": 2, "b": "$@a * 2", "c": {"_target_": "Compose"}, "d": "$@c"}))["b"]
    4
    """
    config = {key: copy.deepcopy(value) for key, value in parser.get().items() if not key.startswith("_")}
    for key, value in config.items():
        if isinstance(value, str) and value.startswith(("$", "@")) and _is_plain(parser, key, set()):
            content = parser.get_parsed_content(key)
            config[key] = content if isinstance(content, bool | int | float | str | list) else str(content)
    if isinstance(config.get("bundle_root"), Mapping):
        config["bundle_root"] = parser.get_parsed_content("bundle_root")
    return config


def _is_plain(parser: ConfigParser, key: str, seen: set[str]) -> bool:
    """Return whether a value depends on plain values alone, so that computing it builds nothing."""
    value = parser.get(key)
    if key in seen or value is None:
        return False
    if key == "bundle_root" or isinstance(value, bool | int | float):
        return True
    if isinstance(value, list):
        return all(not isinstance(entry, dict | list) for entry in value)
    if not isinstance(value, str):
        return False
    if not value.startswith(("$", "@")):
        return True
    return all(_is_plain(parser, name, {*seen, key}) for name in ReferenceResolver.match_refs_pattern(value))
