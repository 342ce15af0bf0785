# SPDX-License-Identifier: Apache-2.0
"""Which parts of a config a run id needs."""

from collections.abc import Iterator, Mapping
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver

ENGINES = ("SupervisedTrainer", "SupervisedEvaluator")


def reached(config: Mapping[str, Any], run_id: str) -> dict[str, Any]:
    """Return id and content of all that the expressions of a run id refer to, in the order of first reference.

    >>> [*reached({"seed": 0, "net": {"seed": "@seed"}, "other": 1, "run": ["$@net.run()"]}, "run")]
    ['net', 'net::seed', 'seed']
    """
    parser = ConfigParser(dict(config))
    found: dict[str, Any] = {}
    waiting = [reference for _, value in _entries(run_id, config[run_id]) for reference in _references("", value)]
    while waiting:
        name = waiting.pop(0)
        if name in found or name not in parser:
            continue
        for place, value in _entries(name, parser[name]):
            found.setdefault(place, value)
            waiting += _references(place, value)
    return found


def engines(config: Mapping[str, Any], run_id: str) -> list[str]:
    """Return the ids of the engines that the expressions of a run id run, in their order.

    >>> engines({"train": {"trainer": {"_target_": "SupervisedTrainer"}}, "run": ["$@train::trainer.run()"]}, "run")
    ['train::trainer']
    """
    parser = ConfigParser(dict(config))
    names = [name for _, value in _entries(run_id, config[run_id]) for name in _references("", value)]
    return [name for name in dict.fromkeys(names) if name in parser and is_target(parser[name], *ENGINES)]


def is_target(content: Any, *names: str) -> bool:
    """Return whether a content is a component of one of these names, whatever module it is in.

    >>> is_target({"_target_": "monai.engines.SupervisedTrainer"}, "SupervisedTrainer")
    True
    """
    return isinstance(content, Mapping) and str(content.get("_target_")).rpartition(".")[2] in names


def _entries(name: str, content: Any) -> Iterator[tuple[str, Any]]:
    yield name, content
    if isinstance(content, dict | list):
        for _, place, value in ReferenceResolver.iter_subconfigs(name, content):
            yield from _entries(place, value)


def _references(place: str, value: Any) -> list[str]:
    if not isinstance(value, str) or place.endswith("_desc_"):
        return []
    return [*ReferenceResolver.match_refs_pattern(ConfigParser.resolve_relative_ids(place, value))]
