# SPDX-License-Identifier: Apache-2.0
"""Whether the configs' top-level keys are described, and the page's tables say what the description does."""

from collections.abc import Iterator

from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.key_tables import COMMAND, END, TABLE, with_key_tables
from medti_components.bundle.keys import setting_keys
from medti_components.bundle.schema import SCHEMA, ConfigSchema
from medti_components.errors import ConfigError


def keys(bundle: Bundle) -> Iterator[str]:
    """Each key that a user sets is described, its value is allowed, and the page's tables of keys are up to date."""
    schema = ConfigSchema(bundle.folder)
    if not schema.path.is_file():
        yield f"{SCHEMA.as_posix()} is missing: describe the configs' top-level keys in it"
        return
    missing = [
        f"configs/{name}: '{key}' is not described: add it to {SCHEMA.as_posix()}"
        for name, config in bundle.configs.items()
        for key in setting_keys(config)
        if "description" not in schema.keys(name).get(key, {})
    ]
    yield from missing
    for name, config in bundle.configs.items():
        try:
            schema.check(name, config)
        except ConfigError as error:
            yield f"configs/{name}: {error}"
    page = bundle.folder / "docs" / "README.md"
    if not missing and page.is_file():
        yield from _tables(bundle, page.read_text(encoding="utf-8", errors="replace"))


def _tables(bundle: Bundle, text: str) -> Iterator[str]:
    shown = {table["config"] for table in TABLE.finditer(text) if table["keys"] is None}
    for name in bundle.configs:
        if f"configs/{name}" not in shown:
            lines = f"'<!-- keys of configs/{name} -->' and '{END}'"
            yield f"docs/README.md has no table of the keys of configs/{name}: add the lines {lines}, and run {COMMAND}"
    if with_key_tables(text, bundle.folder) != text:
        yield f"docs/README.md has tables of keys that are not up to date: run {COMMAND}"
