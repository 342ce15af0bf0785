# SPDX-License-Identifier: Apache-2.0
"""A bundle as it lies on disk."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from medti_components.bundle.run import BUNDLE_CONFIGS
from medti_components.errors import BundleError

METADATA = "metadata.json"
EMBEDDED = "embedded.json"


class Bundle:
    """The files of a bundle and what its configs say, as they are written: nothing is resolved or executed.

    A bundle is in its *source form*, as in this repository's ``bundles/``, or *packaged* for the model zoo. A packaged
    one has ``models/model.pt``, and must fulfil more.

    Args:
        folder: the bundle's folder, which holds ``configs/``.

    Raises:
        BundleError: the folder is missing, or holds no configs.

    >>> Bundle("benchmarks")
    Traceback (most recent call last):
    ...
    medti_components.errors.BundleError: 'benchmarks' is no bundle: give a folder that holds configs/metadata.json
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "configs").is_dir():
            raise BundleError(f"'{folder}' is no bundle: give a folder that holds configs/{METADATA}")
        self.name = self.folder.resolve().name
        self.unreadable: dict[str, str] = {}
        own = {path.name: path for path in sorted((self.folder.resolve() / "configs").glob("*.json"))}
        beside = {path.name: path for path in sorted((self.folder.resolve().parent.parent / "configs").glob("*.json"))}
        reserved = (METADATA, *BUNDLE_CONFIGS)
        self.overlay_paths = {name: path for name, path in {**beside, **own}.items() if name not in reserved}
        self.metadata = self._read(own[METADATA]) if METADATA in own else None
        self.configs = self._readable({name: own[name] for name in BUNDLE_CONFIGS if name in own})
        overlays = self._readable(self.overlay_paths)
        # a config with its own run is no overlay
        self.overlays = {name: content for name, content in overlays.items() if "run" not in content}

    @property
    def is_packaged(self) -> bool:
        """Whether the bundle is in the form that the model zoo takes."""
        return (self.folder / "models" / "model.pt").is_file()

    @property
    def concepts(self) -> list[str]:
        """Tokens of the bundle's concepts, from the first config that lists them."""
        listed = (config["concepts"] for config in self.configs.values() if isinstance(config.get("concepts"), list))
        return [str(token) for token in next(listed, [])]

    def files(self) -> list[Path]:
        """Return all files, sorted, without those that Python and file managers leave behind."""
        paths = (path for path in self.folder.rglob("*") if path.is_file() or path.is_symlink())
        return sorted(path for path in paths if "__pycache__" not in path.parts and path.name != ".DS_Store")

    def short(self, path: Path) -> str:
        """Return a path relative to the bundle's folder."""
        return path.relative_to(self.folder).as_posix()

    def named_files(self) -> dict[str, Path]:
        """Return all files by their path within the bundle."""
        return {self.short(path): path for path in self.files()}

    def _readable(self, paths: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
        contents = {name: self._read(path) for name, path in paths.items()}
        return {name: content for name, content in contents.items() if content is not None}

    def _read(self, path: Path) -> dict[str, Any] | None:
        """Return the object in a JSON file, or None where it can't be read; ``unreadable`` then gives the reason."""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", "Duplicate key")
                content = ConfigParser.load_config_file(path)
        except (OSError, ValueError, UserWarning) as error:
            self.unreadable[path.name] = " ".join(str(error).split())
            return None
        if not isinstance(content, dict) or not content:
            self.unreadable[path.name] = "it holds no JSON object with keys"
            return None
        return content
