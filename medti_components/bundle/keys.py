# SPDX-License-Identifier: Apache-2.0
"""Whether the keys that a user sets exist, and which parts of a config a run needs.

MONAI takes a misspelt key without a word and runs the default.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pydoc import locate
from typing import Any

from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser, ReferenceResolver

from medti_components.bundle.error_line import nearest
from medti_components.errors import ConfigError

Config = Mapping[str, Any]


def _suggestion(word: str, known: Iterable[str]) -> str:
    names = sorted(name for name in known if not name.startswith("_"))
    near = nearest(word, names)
    return f"did you mean '{near}'?" if near else f"known here: {', '.join(names)}"


def check_key(key: str, config: Config, others: Mapping[str, Config] | None = None) -> None:
    """Check that ``key``, top-level or a path such as ``train::trainer::max_epochs``, exists in ``config``.

    A path may also end in an argument of the component's function that the config does not set.

    Args:
        key: as given by the user; ``#`` is MONAI's older separator.
        config: the content of the config file that is run.
        others: name and content of the bundle's other configs, to say where a key belongs.

    Raises:
        ConfigError: the key is unknown; names the nearest.

    >>> check_key("train::trainer::max_epochs", {"train": {"trainer": {"max_epochs": 1}}})
    >>> check_key("max_epohcs", {"max_epochs": 1})
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: unknown key 'max_epohcs': did you mean 'max_epochs'?
    """
    level: Any = config
    walked: list[str] = []
    for part in ReferenceResolver.split_id(key.removeprefix("+")):
        if isinstance(level, Mapping):
            if part not in level:
                arguments = _arguments(level)
                if part in arguments:
                    return
                _raise_unknown(key, part, walked, {*level, *arguments}, others or {})
            level = level[part]
        elif isinstance(level, list):
            if not part.isdigit() or int(part) >= len(level):
                raise ConfigError(
                    f"unknown key '{key}': '{'::'.join(walked)}' is a list of {len(level)}, "
                    f"its entries are 0 to {len(level) - 1}, got '{part}'"
                )
            level = level[int(part)]
        elif isinstance(level, str) and level.startswith(("%", "@", "$")):
            return  # written elsewhere: its keys show only when it is resolved
        else:
            raise ConfigError(f"unknown key '{key}': '{'::'.join(walked)}' is a value and has no '{part}'")
        walked.append(part)


def _raise_unknown(key: str, part: str, walked: list[str], known: set[str], others: Mapping[str, Config]) -> None:
    if not walked:
        owners = [name for name, other in others.items() if part in other]
        if owners:
            raise ConfigError(
                f"key '{key}' belongs to {' and '.join(owners)}, not to the config being run: leave it out"
            )
        raise ConfigError(f"unknown key '{key}': {_suggestion(part, known)}")
    near = nearest(part, known)
    raise ConfigError(f"unknown key '{key}': {_suggestion(part, known) if near is None else _path(walked, near)}")


def _path(walked: list[str], near: str) -> str:
    return f"did you mean '{'::'.join([*walked, near])}'?"


def check_section(key: str, value: Any, config: Config) -> None:
    """Check that a value for a whole section does not drop what the section needs.

    MONAI puts the value in the section's place; it does not merge the two.

    Args:
        key: id of the section; ``+section`` is MONAI's way to merge.
        value: what an overlay, or a user, sets it to.
        config: the content of the config file that is run.

    Raises:
        ConfigError: the value is a section that lacks keys; names how one key is set.

    >>> check_section("optimizer", {"lr": 0.1}, {"optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.01}})
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: 'optimizer' replaces the whole section, and lacks its '_target_': to set a key
    of it, write 'optimizer::lr'
    """
    parser = ConfigParser(dict(config))
    if key.startswith("+") or not isinstance(value, Mapping) or key not in parser:
        return
    section = parser[key]
    if not isinstance(section, Mapping) or "_target_" in value:
        return
    missing = ["_target_"] if "_target_" in section else sorted(section.keys() - value.keys())
    if missing:
        path = [*ReferenceResolver.split_id(key)]
        while isinstance(value, Mapping) and value and "_target_" not in value:
            path.append(next(iter(value)))
            value = value[path[-1]]
        raise ConfigError(
            f"'{key}' replaces the whole section, and lacks its '{missing[0]}': to set a key of it, "
            f"write '{'::'.join(path)}'"
        )


def setting_keys(config: Config) -> list[str]:
    """Return the top-level keys that a user sets: plain values, and expressions of plain values.

    Components, sections, run ids, and expressions of components belong to the config itself.

    >>> setting_keys({"seed": 0, "twice": "$2 * @seed", "run": ["$@engine.run()"], "engine": {}, "net": "@engine"})
    ['seed', 'twice']
    """
    return [key for key in config if not key.startswith("_") and key != "imports" and _is_setting(config, key, ())]


def _is_setting(config: Config, key: str, seen: tuple[str, ...]) -> bool:
    value = config.get(key, {})
    if isinstance(value, list):
        return not any(isinstance(part, Mapping) or str(part).startswith(("$", "@", "%")) for part in value)
    if not isinstance(value, str) or not value.startswith(("$", "@", "%")):
        return not isinstance(value, Mapping)
    names = ReferenceResolver.match_refs_pattern(value)
    if value.startswith("%") or key in seen:
        return False
    return all(name == "bundle_root" or _is_setting(config, name, (*seen, key)) for name in names)


@cache
def _monai_components() -> ComponentLocator:
    return ComponentLocator()


def located(target: str) -> Callable[..., Any] | None:
    """Import a ``_target_``: a dotted path, or the short name of a class of MONAI's. Return None if it is missing.

    Raises:
        pydoc.ErrorDuringImport: its module exists and can't be imported.

    >>> located("torch.optim.AdamW"), located("Compose")
    (<class 'torch.optim.adamw.AdamW'>, <class 'monai.transforms.compose.Compose'>)
    >>> located("torch.optim.AdamWW") is None
    True
    """
    module = _monai_components().get_component_module_name(target) if "." not in target else None
    function = locate(f"{module[0] if isinstance(module, list) else module}.{target}" if module else target)
    return function if callable(function) else None


def _arguments(component: Config) -> set[str]:
    """Return the arguments that the ``_target_`` of a component takes, and MONAI's own keys for components."""
    target = component.get("_target_")
    if not isinstance(target, str) or target.startswith(("$", "@", "%")):
        return set()
    function = located(target)
    if function is None:
        return set()
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name for parameter in parameters if parameter.kind not in (parameter.VAR_KEYWORD,)} | set(
        ConfigComponent.non_arg_keys
    )


def fit_replaced_targets(parser: ConfigParser, base: Config) -> list[str]:
    """Drop, where a component was replaced by another, the bundle's arguments that the new one does not take.

    ``--optimizer::_target_ torch.optim.NAdam`` otherwise fails, since the bundle sets ``fused`` for its own optimizer.

    Args:
        parser: what is run; components in it are changed.
        base: the content of the bundle's config alone.

    Returns:
        What was dropped, such as "optimizer::fused".

    Raises:
        ConfigError: the new target does not exist, or a user set an argument that it does not take.
    """
    dropped = []
    for place, own in [*entries(dict(base))]:
        if not place or not isinstance(own, Mapping) or "_target_" not in own or place not in parser:
            continue
        content = parser[place]
        target = content.get("_target_") if isinstance(content, Mapping) else None
        if target == own["_target_"] or not isinstance(target, str) or target.startswith(("$", "@", "%")):
            continue
        function = located(target)
        if function is None:
            raise ConfigError(f"{place}::_target_ '{target}' does not exist: correct it, or install its package")
        parameters = inspect.signature(function).parameters.values()
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            continue
        known = _arguments(content)
        for name in sorted(content.keys() - known):
            if name not in own or content[name] != own[name]:
                raise ConfigError(f"{place}: {target} takes no '{name}': {_suggestion(name, known)}")
            del content[name]
            dropped.append(f"{place}::{name}")
    return dropped


def check_overlay(name: str, overlay: Config, configs: Mapping[str, Config]) -> None:
    """Check that each key of an overlay exists in at least one of a bundle's configs, and drops nothing of a section.

    Args:
        name: file name of the overlay, for the message.
        overlay: its content.
        configs: name and content of the bundle's own configs.

    Raises:
        ConfigError: no config has a key; names file, key and the nearest key.

    >>> check_overlay("fast.json", {"num_steps": 20}, {"train.json": {"seed": 0}, "inference.json": {"num_steps": 100}})
    >>> check_overlay("fast.json", {"num_step": 20}, {"train.json": {"seed": 0}, "inference.json": {"num_steps": 100}})
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: fast.json: unknown key 'num_step': did you mean 'num_steps'?
    """
    union = {key: value for config in configs.values() for key, value in config.items()}
    for key, value in overlay.items():
        if key.startswith("_"):
            continue
        first = ReferenceResolver.split_id(key.removeprefix("+"))[0]
        candidates = [config for config in configs.values() if first in config] or [union]
        errors = []
        for config in candidates:
            try:
                check_key(key, config)
                check_section(key, value, config)
            except ConfigError as error:
                errors.append(error)
        if len(errors) == len(candidates):
            raise ConfigError(f"{name}: {errors[0]}") from errors[0]


ENGINES = ("SupervisedTrainer", "SupervisedEvaluator")


def reached(config: Mapping[str, Any], run_id: str) -> dict[str, Any]:
    """Return id and content of all that a run id's expressions refer to, directly or not, by first reference.

    >>> [*reached({"seed": 0, "net": {"seed": "@seed"}, "other": 1, "run": ["$@net.run()"]}, "run")]
    ['net', 'net::seed', 'seed']
    """
    parser = ConfigParser(dict(config))
    found: dict[str, Any] = {}
    waiting = [reference for _, value in entries(config[run_id], run_id) for reference in _references("", value)]
    while waiting:
        name = waiting.pop(0)
        if name in found or name not in parser:
            continue
        for place, value in entries(parser[name], name):
            found.setdefault(place, value)
            waiting += _references(place, value)
    return found


def engines(config: Mapping[str, Any], run_id: str) -> list[str]:
    """Return the ids of the engines that the expressions of a run id run, in their order.

    >>> engines({"train": {"trainer": {"_target_": "SupervisedTrainer"}}, "run": ["$@train::trainer.run()"]}, "run")
    ['train::trainer']
    """
    parser = ConfigParser(dict(config))
    names = [name for _, value in entries(config[run_id], run_id) for name in _references("", value)]
    return [name for name in dict.fromkeys(names) if name in parser and is_target(parser[name], *ENGINES)]


def is_target(content: Any, *names: str) -> bool:
    """Return whether ``content`` is a component of one of these names, in any module.

    >>> is_target({"_target_": "monai.engines.SupervisedTrainer"}, "SupervisedTrainer")
    True
    """
    return isinstance(content, Mapping) and str(content.get("_target_")).rpartition(".")[2] in names


def entries(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the id and the value of everything in a config, itself first.

    >>> [name for name, _ in entries({"a": {"b": [1, 2]}})]
    ['', 'a', 'a::b', 'a::b::0', 'a::b::1']
    """
    yield name, content
    if isinstance(content, dict | list):
        for _, sub_name, value in ReferenceResolver.iter_subconfigs(name, content):
            yield from entries(value, sub_name)


def _references(place: str, value: Any) -> list[str]:
    if not isinstance(value, str) or place.endswith("_desc_"):
        return []
    return [*ReferenceResolver.match_refs_pattern(ConfigParser.resolve_relative_ids(place, value))]
