# SPDX-License-Identifier: Apache-2.0
"""The configs of a bundle, each with the same overlays laid over it, and commands that run them."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from medti_components.apps.reproduction.step_chain import Step, bundle_command
from medti_components.bundle.shipped import shipped_path
from medti_components.engines.run_folder import CHECKPOINTS
from medti_components.errors import ConfigError

RESUME = ("--resume", "true")
IMAGE_RUNS = ("generating", "interpolating", "inpainting")


@dataclass(frozen=True)
class BundleConfigs:
    """A bundle's configs with overlays.

    Args:
        first: one of its configs.
        overlays: laid over each config.
    """

    first: Path
    overlays: tuple[Path, ...] = ()

    @classmethod
    def of(cls, config_file: str) -> "BundleConfigs":
        """Read a bundle's config, or a list of it and overlays, written as for ``monai.bundle run``.

        Raises:
            ConfigError: a file is missing, or is no config.
        """
        paths = [shipped_path(path).resolve() for path in _listed(config_file)]
        for path in paths:
            if not path.is_file():
                raise ConfigError(f"config_file '{path}' is no file: correct --config_file")
            if path.suffix not in (".json", ".yaml", ".yml"):
                raise ConfigError(f"config_file '{path}' must end in .json or .yaml: correct --config_file")
        return cls(paths[0], tuple(paths[1:]))

    def files(self, name: str) -> tuple[Path, ...]:
        """Return the paths of the config ``<name>.json`` and of the overlays."""
        return (self.first.parent / f"{name}.json", *self.overlays)

    def content(self, name: str) -> dict[str, Any]:
        """Return a config with the overlays laid over it, unresolved."""
        return _content(self.files(name))

    def beside(self, concepts: Sequence[str]) -> "BundleConfigs":
        """Return the bundle beside this one, or this one, that teaches a diffusion model all of ``concepts``.

        Raises:
            ConfigError: there is none.
        """
        bundles = self.first.parents[2]
        for path in sorted(bundles.glob("*/configs/train.json")):
            config = _content((path,))
            if "num_vectors" in config and {*concepts} <= {*config.get("concepts", ())}:
                return BundleConfigs(path, self.overlays)
        raise ConfigError(
            f"no bundle in '{bundles}' learns the words {', '.join(concepts)}: put one beside that of "
            "--config_file, or correct concepts"
        )

    def step(
        self,
        name: str,
        run_id: str,
        config: str,
        keys: Mapping[str, Any],
        needs: Sequence[str] = (),
        work: float = 1.0,
    ) -> Step:
        """Return the command that runs a config; a training goes on where it was broken off."""
        files = self.files(config)
        output = Path(keys["output_dir"])
        images = output if run_id in IMAGE_RUNS else None
        resume, checkpoints = (RESUME, output / CHECKPOINTS) if run_id == "training" else ((), None)
        return Step(name, bundle_command(run_id, files, keys), tuple(needs), files, resume, work, images, checkpoints)


@cache
def _content(files: tuple[Path, ...]) -> dict[str, Any]:
    try:
        return dict(ConfigParser.load_config_files([str(path) for path in files]))
    except ValueError as error:
        names = ", ".join(f"'{path}'" for path in files)
        raise ConfigError(f"{names} can't be read ({' '.join(str(error).split())}): correct --config_file") from error


def _listed(config_file: str) -> list[str]:
    """Return the paths in a list written as Python, or the one path.

    >>> _listed("['a.json', 'b.json']"), _listed("a.json")
    (['a.json', 'b.json'], ['a.json'])
    """
    if not config_file.startswith(("[", "(")):
        return [config_file]
    try:
        paths = ast.literal_eval(config_file)
    except (ValueError, SyntaxError):
        paths = None
    if not paths or not all(isinstance(path, str) for path in paths):
        raise ConfigError(f"config_file must be a path or a list of paths, got {config_file}: write \"['a','b']\"")
    return list(paths)
