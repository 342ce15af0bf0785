# SPDX-License-Identifier: Apache-2.0
"""The bundle whose classifiers an experiment compares, and the one that learns its words."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from medti_components.errors import ConfigError

SPLIT_KEYS = ("num_training_cases", "num_validation_cases", "num_test_cases", "split_seed")
KEYS = ("dataset_dir", "dataset_format", "concepts", *SPLIT_KEYS)


@dataclass(frozen=True)
class ClassifierBundle:
    """Configs of a classifier's bundle and of the textual inversion beside it, each with the same overlays.

    Args:
        configs: folder of the classifier's configs.
        words_configs: folder of the configs of the bundle that learns its concepts.
        overlays: laid over each config.
        settings: what the training config with its overlays says, for the keys in ``KEYS``.
    """

    configs: Path
    words_configs: Path
    overlays: tuple[Path, ...]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, config_file: str) -> "ClassifierBundle":
        """Read a classifier's ``train.json``, or a list of it and overlays, written as for ``monai.bundle run``.

        Raises:
            ConfigError: a file is missing, is no such config, or no bundle beside it learns its concepts.
        """
        paths = [Path(path).resolve() for path in _listed(config_file)]
        for path in paths:
            if not path.is_file():
                raise ConfigError(f"config_file '{path}' is no file: correct --config_file")
        config = ConfigParser.load_config_files([str(path) for path in paths])
        missing = [key for key in KEYS if key not in config]
        if missing or not (paths[0].parent / "evaluate.json").is_file():
            what = f"lacks {', '.join(missing)}" if missing else "has no evaluate.json beside it"
            raise ConfigError(
                f"config_file must be the train.json of a bundle that trains a classifier, '{paths[0]}' {what}: "
                "give bundles/prostate_cancer_classification/configs/train.json first"
            )
        settings = {key: config[key] for key in KEYS}
        return cls(paths[0].parent, _words_configs(paths[0], settings["concepts"]), tuple(paths[1:]), settings)

    def files(self, name: str) -> tuple[Path, ...]:
        """Return a config of the classifier and its overlays."""
        return (self.configs / f"{name}.json", *self.overlays)

    def words_files(self, name: str) -> tuple[Path, ...]:
        """Return a config of the textual inversion and its overlays."""
        return (self.words_configs / f"{name}.json", *self.overlays)


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


def _words_configs(train: Path, concepts: list[str]) -> Path:
    """Find the bundle beside a classifier's that teaches a diffusion model all its concepts."""
    for path in sorted(train.parents[2].glob("*/configs/train.json")):
        config = ConfigParser.load_config_file(path)
        if "num_vectors" in config and {*concepts} <= {*config.get("concepts", ())}:
            return path.parent
    raise ConfigError(
        f"no bundle in '{train.parents[2]}' learns the words {', '.join(concepts)}: put one beside the classifier's, "
        "or correct concepts"
    )
