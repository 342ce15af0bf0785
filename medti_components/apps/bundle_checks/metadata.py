# SPDX-License-Identifier: Apache-2.0
"""``configs/metadata.json``: MONAI's schema, and the history of versions."""

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from jsonschema import Draft201909Validator

from medti_components.apps.bundle_checks.bundle import METADATA, Bundle
from medti_components.apps.bundle_checks.check_result import CheckSkipped

VERSION = re.compile(r"\d+(\.\d+){2}([.-]?(a|b|rc|dev|post)\d+)?")


def metadata_schema() -> dict[str, Any]:
    """Return the JSON schema of metadata: what MONAI's ``meta_schema_20240725.json`` asks for, and a little more.

    >>> metadata_schema()["required"][:2]
    ['schema', 'version']
    """
    schema: dict[str, Any] = json.loads(files(__package__).joinpath("metadata_schema.json").read_text("utf-8"))
    return schema


def metadata(bundle: Bundle) -> Iterator[str]:
    """The metadata fits the schema, without a network."""
    content = _content(bundle)
    errors = Draft201909Validator(metadata_schema()).iter_errors(content)
    for error in sorted(errors, key=lambda error: error.json_path):
        place = "::".join(str(part) for part in error.absolute_path)
        message = error.message if len(error.message) < 200 else f"{error.message[:200]}..."
        remedy = "add it" if error.validator == "required" else error.schema.get("description", "correct the value")
        yield f"configs/{METADATA}: {f'{place}: ' if place else ''}{message}: {remedy}"


def changelog(bundle: Bundle) -> Iterator[str]:
    """The version is a key of the changelog, all of whose keys are versions that say what is new."""
    content = _content(bundle)
    version, versions = content.get("version"), content.get("changelog")
    if not isinstance(versions, dict):
        yield f"configs/{METADATA} has no object 'changelog': add one, a line of text for each version"
        return
    if version not in versions:
        yield f"configs/{METADATA}: version '{version}' is not in the changelog: add it, with what is new"
    for key, text in versions.items():
        if not VERSION.fullmatch(key):
            yield f"configs/{METADATA}: changelog: '{key}' is no version such as 0.1.0: correct it"
        if not isinstance(text, str) or not text.strip():
            yield f"configs/{METADATA}: changelog: '{key}' does not say what is new: write it"


def _content(bundle: Bundle) -> dict[str, Any]:
    if bundle.metadata is None:
        raise CheckSkipped(f"configs/{METADATA} can't be read: see structure")
    return bundle.metadata
