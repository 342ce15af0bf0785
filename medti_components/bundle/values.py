# SPDX-License-Identifier: Apache-2.0
"""Whether the values that a user sets have the type of the config's own values.

Fire reads the command line, and takes values as Python: ``true`` arrives as text, ``effusion, frontal`` as a tuple,
``grade #2`` as "grade". Text is therefore taken from the command line as it was typed.
"""

import ast
import math
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from medti_components.errors import ConfigError

SYNTAX = ("$", "@", "%")


def typed_values(arguments: Sequence[str]) -> dict[str, str]:
    """Return what was typed after each ``--key`` of a command line.

    >>> typed_values(["run", "training", "--prompt", "a, b", "--seed=1", "--resume", "--num-cases", "-1"])
    {'prompt': 'a, b', 'seed': '1', 'num_cases': '-1'}
    """
    values = {}
    for index, argument in enumerate(arguments):
        if not argument.startswith("--"):
            continue
        key, equals, value = argument[2:].partition("=")
        if equals:
            values[key.replace("-", "_")] = value
        elif index + 1 < len(arguments) and not arguments[index + 1].startswith("--"):
            values[key.replace("-", "_")] = arguments[index + 1]
    return values


def is_expression(value: Any) -> bool:
    """Return whether MONAI resolves ``value`` (``$`` expression, ``@`` reference, ``%`` macro, component)."""
    return (isinstance(value, str) and value.startswith(SYNTAX)) or (isinstance(value, Mapping) and "_target_" in value)


def fitting_value(key: str, value: Any, default: Any, typed: str | None = None, kinds: Collection[str] = ()) -> Any:
    """Return ``value`` in the type of the config's own value.

    Args:
        key: top-level key.
        value: what MONAI was given for it.
        default: the value in the config file; None and expressions allow any type.
        typed: the text on the command line, if the value came from there.
        kinds: JSON types that a schema allows; needed where the config's own value allows any.

    Raises:
        ConfigError: the value has another type.

    >>> fitting_value("resume", "true", False)
    True
    >>> fitting_value("prompt", ("effusion", "frontal"), "", typed="effusion, frontal")
    'effusion, frontal'
    >>> fitting_value("max_steps", "many", 100)
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: max_steps must be a whole number, got 'many'
    """
    if value is None or is_expression(value):
        return value
    if isinstance(default, bool):
        return _as_bool(key, value)
    if isinstance(default, int):
        return _as_int(key, value)
    if isinstance(default, float):
        return _as_float(key, value)
    if isinstance(default, list):
        if not isinstance(value, list | tuple):
            example = "\"['first', 'second']\""
            raise ConfigError(f"{key} must be a list, got {value!r}: write --{key} {example}")
        return list(value)
    if "array" in kinds and "string" not in kinds:
        return list(value) if isinstance(value, tuple) else value
    if (isinstance(value, list) and "array" in kinds) or (isinstance(value, Mapping) and "object" in kinds):
        for text in _texts(value):
            _as_text(key, text, None)
        return value
    is_text = isinstance(default, str) and not is_expression(default)
    is_device = type(value).__module__ == "torch"
    if is_text or ("string" in kinds and not is_device):
        value = _as_text(key, value, typed)
        return _as_device(key, value) if key == "device" else value
    return value


def _as_bool(key: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ConfigError(f"{key} must be true or false, got {value!r}")


def _as_float(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{key} must be a number, got {value!r}")
    return float(value)


def _as_int(key: str, value: Any) -> int:
    """Return a count, size or seed: whole numbers of the configs are never negative."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ConfigError(f"{key} must not be negative, got {value}")
        return value
    remedy = f": write {int(value)}" if isinstance(value, float) and value.is_integer() else ""
    raise ConfigError(f"{key} must be a whole number, got {value!r}{remedy}")


def _as_text(key: str, value: Any, typed: str | None) -> str:
    text = value if typed is None else _unquoted(typed)
    if isinstance(text, os.PathLike):
        text = os.fspath(text)
    if not isinstance(text, str):
        raise ConfigError(f"{key} must be text, got {value!r}: put it in quotes")
    if "#" in text:
        remedy = "write it into a file and give --prompt_file" if "prompt" in key else "choose a name without it"
        raise ConfigError(f"{key} must not contain '#', which MONAI turns into '::', got {text!r}: {remedy}")
    return text


def _unquoted(typed: str) -> str:
    """Return the text within a second pair of quotes, as Fire would, or all of it.

    >>> _unquoted("'a, b'"), _unquoted("a, b")
    ('a, b', 'a, b')
    """
    try:
        value = ast.literal_eval(typed)
    except (ValueError, SyntaxError):
        return typed
    return value if isinstance(value, str) else typed


def _texts(prompt: Any) -> list[Any]:
    """Return the texts of a structured prompt.

    >>> _texts(["<a>", {"<b>": 0.5, "<c>": 0.5}])
    ['<a>', '<b>', '<c>']
    """
    if isinstance(prompt, list):
        return [text for part in prompt for text in _texts(part)]
    return list(prompt) if isinstance(prompt, Mapping) else [prompt]


def _as_device(key: str, value: str) -> str:
    import torch  # here, since the command line checks its values by this module without PyTorch

    try:
        device = torch.device(value)
    except RuntimeError as error:
        raise ConfigError(f"{key} must be 'cpu', 'cuda' or 'cuda:<number>', got {value!r}") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"{key} {value!r} is not there ({torch.cuda.device_count()} GPUs found): give --{key} cpu")
    return value
