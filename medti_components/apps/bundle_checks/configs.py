# SPDX-License-Identifier: Apache-2.0
"""The configs: components and their arguments, references, expressions, overlays, and the keys that users set.

Modules that a ``_target_`` lies in are imported; nothing is instantiated, no expression is evaluated.
"""

import ast
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from pydoc import ErrorDuringImport, locate
from typing import Any

from monai.bundle import ConfigComponent, ConfigExpression, ConfigParser, ReferenceResolver

from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_checks.check_result import CheckSkipped
from medti_components.apps.key_tables import COMMAND, END, TABLE, with_key_tables
from medti_components.bundle.error_line import nearest
from medti_components.bundle.keys import check_overlay, entries, located, setting_keys
from medti_components.bundle.run import configs_beside
from medti_components.bundle.schema import SCHEMA, ConfigSchema
from medti_components.errors import ConfigError

SYNTAX = ("$", "@", "%")


def targets(bundle: Bundle) -> Iterator[str]:
    """Each ``_target_`` can be imported, and takes its arguments."""
    for name, config in bundle.configs.items():
        for place, value in entries(config):
            target = value.get("_target_") if isinstance(value, dict) else None
            if isinstance(target, str) and not target.startswith(SYNTAX):
                yield from (f"configs/{name}: {place}: {problem}" for problem in _target_problems(target, value))


def _target_problems(target: str, component: Mapping[str, Any]) -> Iterator[str]:
    try:
        function = located(target)
    except ErrorDuringImport as error:
        yield f"'{target}' can't be imported ({error.value}): correct the module or its requirements"
        return
    if function is None:
        near = nearest(target.rpartition(".")[2], _names_beside(target))
        remedy = f"did you mean '{near}'?" if near else "give the dotted path of a class or function"
        yield f"'{target}' can't be imported: {remedy}"
        return
    try:
        signature = inspect.signature(function)
    except ValueError:  # some of those written in C do not tell
        return
    arguments = dict.fromkeys(key for key in component if key not in ConfigComponent.non_arg_keys)
    is_called = component.get("_mode_", "default") in ("default", "debug")
    try:
        (signature.bind if is_called else signature.bind_partial)(**arguments)
    except TypeError as error:
        yield f"'{target}' does not take its arguments ({error}): it takes {signature}"


def _names_beside(target: str) -> list[str]:
    owner, _, _ = target.rpartition(".")
    try:
        return dir(locate(owner)) if owner else []
    except ErrorDuringImport:
        return []


def references(bundle: Bundle) -> Iterator[str]:
    """Each ``@`` reference and ``%`` macro has a target within the config, and there is no circle."""
    for name, config in {**bundle.configs, **bundle.overlays}.items():
        for place, value in entries(config):
            if "#" in place.rpartition("::")[2] or (isinstance(value, str) and "#" in value):
                yield f"{name}: {place}: MONAI reads every '#' as '::': write '::', or do without"
    for name, config in bundle.configs.items():
        problems = [*_unresolved(config, config, bundle.folder)]
        yield from (f"configs/{name}: {problem}" for problem in problems)
        if not problems:
            yield from (f"configs/{name}: {problem}" for problem in _circles(config))


def _unresolved(content: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Yield the references without a target in ``content``, which is ``config`` or laid over it."""
    parser = ConfigParser({**config, **content})
    known = [name for name, _ in entries(parser.get())]
    for place, value in entries(content):
        if not isinstance(value, str) or place.endswith("_desc_"):
            continue
        value = ConfigParser.resolve_relative_ids(place, value)
        wanted = [f"@{reference}" for reference in ReferenceResolver.match_refs_pattern(value)]
        source = parser
        if value.startswith("%"):
            file, reference = ConfigParser.split_path_id(value[1:])
            if file and not (folder / file).is_file():
                yield f"{place}: '{value}': there is no file '{file}' in the bundle: correct the macro"
                continue
            source = ConfigParser(ConfigParser.load_config_file(folder / file)) if file else parser
            wanted = [f"%{reference}"] if reference else []
        for reference in wanted:
            if reference[1:] not in source:
                near = nearest(reference[1:], known)
                remedy = f"did you mean '{reference[0]}{near}'?" if near else "add the key or correct the reference"
                yield f"{place}: '{reference}' is not in the config: {remedy}"


def _circles(config: Mapping[str, Any]) -> Iterator[str]:
    """Let MONAI follow the references of each top-level key, without instantiating or evaluating anything."""
    parser = ConfigParser({key: value for key, value in config.items() if key != "imports"})
    try:
        parser.parse()
        for key in parser.get():
            parser.get_parsed_content(key, instantiate=False, eval_expr=False)
    except ValueError as error:
        yield f"{error}: break the circle"
    except RecursionError:
        yield "macros lead in a circle: break it"


def expressions(bundle: Bundle) -> Iterator[str]:
    """Each ``$`` expression can be parsed as Python; it is not evaluated."""
    for name, config in {**bundle.configs, **bundle.overlays}.items():
        for place, value in entries(config):
            if not ConfigExpression.is_expression(value):
                continue
            names = dict.fromkeys(ReferenceResolver.match_refs_pattern(value))
            code = ReferenceResolver.update_refs_pattern(value, names)[1:]
            try:
                ast.parse(code, mode="exec" if ConfigExpression.is_import_statement(value) else "eval")
            except SyntaxError as error:
                yield f"{name}: {place}: '{value}' is no Python expression ({error.msg}): correct it"


def overlays(bundle: Bundle) -> Iterator[str]:
    """Each key of an overlay is in a bundle's config, and its references have targets in each config with that key."""
    if not bundle.overlays:
        raise CheckSkipped("no overlays beside the bundle")
    known = {**bundle.configs, **configs_beside(bundle.folder / "configs")}
    for file, overlay in bundle.overlays.items():
        for key, value in overlay.items():
            try:
                check_overlay(file, {key: value}, known)
            except ConfigError as error:
                yield str(error)
        for name, config in bundle.configs.items():
            content = {key: value for key, value in overlay.items() if key in config}
            yield from (f"{file} over {name}: {problem}" for problem in _unresolved(content, config, bundle.folder))


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
