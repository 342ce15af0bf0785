# SPDX-License-Identifier: Apache-2.0
"""The components that a bundle's configs name: copied into it, or required."""

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import medti_components
from medti_components.apps.bundle_checks.bundle import METADATA
from medti_components.errors import BundleError

DISTRIBUTION = "medti"
PACKAGE = medti_components.__name__
SOURCE = Path(medti_components.__file__).parent
FORMATTED = "# Copied from medti, where it is formatted and checked.\n# isort: skip_file\n# fmt: off\n# flake8: noqa\n"
"""Head of a copied module: the model zoo's isort, black and flake8 leave the file alone."""
HAVE_OWN_KEYS = ("monai", "numpy", "torch")  # in metadata.json


def copy_components(folder: Path) -> str:
    """Copy the components that a bundle's configs name, and all that these import, into the bundle and its configs.

    The copy is called ``medti_components_<hash of its files>``: it clashes neither with an installed package nor with
    the copy of another version in another bundle, and equal copies are interchangeable.

    Returns:
        The name of the copy.
    """
    configs = {path: path.read_text(encoding="utf-8") for path in _config_files(folder)}
    sources = needed_sources(configs.values())
    data = _data_files(sources)
    name = _copy_name({**{file: text.encode() for file, text in sources.items()}, **data})
    copied = {**{file: (FORMATTED + renamed(text, name)).encode() for file, text in sources.items()}, **data}
    for file, content in copied.items():
        (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / file).write_bytes(content)
    for path, text in configs.items():
        path.write_text(renamed(text, name), encoding="utf-8", newline="\n")
    return name


def unchanged_copy(folder: Path) -> str | None:
    """Return the name of the components copied into a packaged bundle; None where they are pinned.

    Raises:
        BundleError: the hash in the folder's name is not that of its files.
    """
    for place in sorted(folder.glob(f"{PACKAGE}_*")):
        paths = [path for path in place.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        contents = {path.relative_to(place).as_posix(): path.read_bytes() for path in paths}
        as_named = {
            file: content.removeprefix(FORMATTED.encode()).replace(place.name.encode(), PACKAGE.encode())
            if file.endswith(".py")
            else content
            for file, content in contents.items()
        }
        if place.name != _copy_name(as_named):
            raise BundleError(f"files in {place.name} were changed since they were packed: package the bundle again")
        return place.name
    return None


def _copy_name(files: Mapping[str, bytes]) -> str:
    content = b"".join(file.encode() + b"\0" + files[file] + b"\0" for file in sorted(files))
    return f"{PACKAGE}_{hashlib.sha256(content).hexdigest()[:8]}"


def _data_files(sources: Iterable[str]) -> dict[str, bytes]:
    """Return the weights and templates of modules: files beside a module that have its name."""
    found = {}
    for file in sources:
        module = SOURCE / file
        for path in module.parent.glob(f"{module.stem}.*"):
            if path.stem == module.stem and path != module:
                content = path.read_bytes()
                if path.suffix == ".json":  # as the model zoo lays it out
                    content = (json.dumps(json.loads(content), indent=4) + "\n").encode()
                found[path.relative_to(SOURCE).as_posix()] = content
    return found


def needed_sources(configs: Iterable[str]) -> dict[str, str]:
    """Return the sources of the components that texts name, and of all that these import, by file, sorted.

    >>> [*needed_sources(['"_target_": "medti_components.errors.BundleError"'])]
    ['__init__.py', 'errors.py']
    """
    found: dict[str, str] = {}
    waiting = {name for text in configs for name in re.findall(rf"\b{PACKAGE}(?:\.\w+)*", text)}
    while waiting:
        parts = waiting.pop().split(".")[1:]
        for length in range(len(parts) + 1):  # importing a module runs the packages around it
            for file in (
                SOURCE.joinpath(*parts[:length], "__init__.py"),
                SOURCE.joinpath(*parts[:length]).with_suffix(".py"),
            ):
                name = file.relative_to(SOURCE.parent).as_posix().partition("/")[2]
                if name and file.is_file() and name not in found:
                    found[name] = file.read_text(encoding="utf-8")
                    waiting |= {module for module in _imports(found[name]) if module.split(".")[0] == PACKAGE}
    return dict(sorted(found.items()))


def renamed(text: str, name: str) -> str:
    """Return ``text`` with the package called ``name``.

    >>> renamed("from medti_components.errors import BundleError  # medti", "own")
    'from own.errors import BundleError  # medti'
    """
    return re.sub(rf"\b{PACKAGE}\b", name, text)


def require_components(metadata: dict[str, Any], configs: Iterable[str], is_copied: bool) -> None:
    """Complete ``required_packages_version`` of a bundle's metadata by all that its components need.

    A version that the metadata names stays. The others are the installed ones.

    Args:
        metadata: content of metadata.json, which is changed.
        configs: texts of the configs.
        is_copied: whether the components are copied into the bundle, so that only what they import is required.

    Raises:
        BundleError: an import belongs to no installed distribution.
    """
    own = metadata.get("required_packages_version", {})
    needed = {DISTRIBUTION: medti_components.__version__}
    if is_copied:
        imports = {module.split(".")[0] for text in needed_sources(configs).values() for module in _imports(text)}
        needed = {name: version(name) for name in _distributions(imports - sys.stdlib_module_names - {PACKAGE})}
    known = {name.lower() for name in (*own, *HAVE_OWN_KEYS)}
    pins = {**own, **{name: number for name, number in needed.items() if name.lower() not in known}}
    metadata["required_packages_version"] = dict(sorted(pins.items(), key=lambda pin: pin[0].lower()))


def _distributions(modules: Iterable[str]) -> set[str]:
    installed = packages_distributions()
    for module in modules:
        if module not in installed:
            raise BundleError(
                f"the components import '{module}', which no installed package has: install it, so that "
                f"configs/{METADATA} can say which version is needed"
            )
    return {installed[module][0] for module in modules}


def _imports(source: str) -> Iterator[str]:
    """Yield the dotted names that a source imports; of ``from a import b`` both a and a.b, which may be a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _config_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "configs").iterdir() if path.suffix in (".json", ".conf"))
