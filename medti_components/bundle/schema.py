# SPDX-License-Identifier: Apache-2.0
"""What the top-level keys of a bundle's configs mean and may hold: ``docs/keys.schema.json``, a JSON Schema.

It has one definition per config: ``train``, ``inference`` and ``evaluate``. Keys of several bundles are described once,
in ``keys.schema.json`` beside this file. A bundle refers to it by ``{"$ref": "urn:medti:keys#/$defs/training"}`` and
adds its own keys. A packaged bundle holds both in one document. Defaults stand only in the configs.
"""

import copy
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match

from medti_components.bundle.error_line import nearest
from medti_components.bundle.values import is_expression
from medti_components.errors import ConfigError

SCHEMA = Path("docs") / "keys.schema.json"  # in a bundle
SHARED = Path(__file__).with_name("keys.schema.json")
SHARED_ID = "urn:medti:keys"
KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
SHORT_NAMES = {"half": "float16", "single": "float32", "float": "float32"}
LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "enum": "one of {}",
    "type": "{}",
    "multipleOf": "a multiple of {}",
    "minLength": "text of at least {} character(s)",
    "minItems": "a list of at least {}",
    "maxItems": "a list of at most {}",
}


class ConfigSchema:
    """The keys of a bundle's configs.

    Args:
        folder: the bundle's; without ``docs/keys.schema.json`` every value is allowed.

    Raises:
        ConfigError: the file is no JSON Schema.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / SCHEMA
        self.document = self._read() if self.path.is_file() else {"$defs": {}}

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            if SHARED_ID not in document.setdefault("$defs", {}):
                document["$defs"][SHARED_ID] = json.loads(SHARED.read_text(encoding="utf-8"))
            Draft202012Validator.check_schema(document)
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise ConfigError(f"'{self.path}' can't be read ({' '.join(str(error).split())}): correct it") from error
        except SchemaError as error:
            raise ConfigError(f"'{self.path}' is no JSON Schema ({error.message}): correct it") from error
        return document

    @cached_property
    def _validator(self) -> Any:
        return Draft202012Validator(self.document)

    def keys(self, config: str) -> dict[str, dict[str, Any]]:
        """Return the schema of each key of a config, such as ``train.json``; a bundle's own comes last."""
        definition = self.document["$defs"].get(Path(config).stem)
        return {} if definition is None else _properties(definition, self.document, self.document)

    def check(self, config: str, values: Mapping[str, Any]) -> None:
        """Check the values of a config's top-level keys, without those that MONAI has yet to resolve.

        Raises:
            ConfigError: a value is not allowed; the first, by key.
        """
        plain = {key: copy.deepcopy(value) for key, value in values.items() if not _is_open(value)}
        described = self.keys(config)
        for key in sorted(described.keys() & plain.keys()):
            error = best_match(self._validator.evolve(schema=described[key]).iter_errors(plain[key]))
            if error is not None:
                remedy = _suggestion(error) or f"correct --{key}"
                raise ConfigError(f"{key} must be {_allowed(error)}, got {_shown(plain[key])}: {remedy}")


def kinds(described: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the JSON types that a key's schema allows; empty where it allows any.

    >>> kinds({"type": ["string", "null"]}), kinds({"type": "integer"}), kinds({})
    (('string', 'null'), ('integer',), ())
    """
    allowed = described.get("type", ())
    return (allowed,) if isinstance(allowed, str) else tuple(allowed)


def _is_open(value: Any) -> bool:
    return is_expression(value) or (isinstance(value, list) and any(map(is_expression, value)))


def _properties(
    node: Mapping[str, Any], resource: Mapping[str, Any], document: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the properties of a definition and of those that it extends."""
    found: dict[str, dict[str, Any]] = {}
    for part in [node, *node.get("allOf", [])]:
        if "$ref" not in part:
            continue
        place, _, name = part["$ref"].partition("#/$defs/")
        owner = document["$defs"][place] if place else resource
        for key, schema in _properties(owner["$defs"][name], owner, document).items():
            found[key] = found.get(key, {}) | schema
    for key, schema in node.get("properties", {}).items():
        found[key] = found.get(key, {}) | schema
    return found


def _allowed(error: ValidationError) -> str:
    """Return the allowed values in words.

    >>> _allowed(next(Draft202012Validator({"type": ["integer", "null"]}).iter_errors("a")))
    'a whole number or null'
    >>> _allowed(next(Draft202012Validator({"enum": ["a", "b"]}).iter_errors("c")))
    'one of a, b'
    """
    limit = error.validator_value
    if error.validator == "type":
        limit = " or ".join(KINDS[kind] for kind in ([limit] if isinstance(limit, str) else limit))
    elif error.validator == "enum":
        limit = ", ".join("null" if value is None else str(value) for value in limit)
    text = LIMITS.get(str(error.validator), f"as '{error.validator}' of the schema says").format(limit)
    return f"{text} in entry {error.path[0]}" if error.path else text


def _suggestion(error: ValidationError) -> str:
    """Return which of the allowed texts was probably meant; "" where none is near.

    >>> _suggestion(next(Draft202012Validator({"enum": ["float16", "float32"]}).iter_errors("fp16")))
    "did you mean 'float16'?"
    """
    if error.validator != "enum" or not isinstance(error.instance, str):
        return ""
    texts = [value for value in error.validator_value if isinstance(value, str)]
    near = SHORT_NAMES.get(error.instance)
    near = near if near in texts else nearest(error.instance, texts, cutoff=0.5)
    return f"did you mean '{near}'?" if near else ""


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)
