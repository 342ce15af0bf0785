# SPDX-License-Identifier: Apache-2.0
"""The bundle whose classifiers an experiment compares, and the one that learns its words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medti_components.apps.reproduction.bundle_configs import BundleConfigs
from medti_components.errors import ConfigError

SPLIT_KEYS = ("num_training_cases", "num_validation_cases", "num_test_cases", "split_seed")
KEYS = ("dataset_dir", "dataset_format", "concepts", *SPLIT_KEYS)


@dataclass(frozen=True)
class ClassifierBundle:
    """Configs of a classifier's bundle and of the textual inversion beside it, each with the same overlays.

    Args:
        classifier: the classifier's.
        words: those of the bundle that learns its concepts.
        settings: what the training config with its overlays says, for the keys in ``KEYS``.
    """

    classifier: BundleConfigs
    words: BundleConfigs
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, config_file: str) -> "ClassifierBundle":
        """Read a classifier's ``train.json``, or a list of it and overlays, written as for ``monai.bundle run``.

        Raises:
            ConfigError: a file is missing, is no such config, or no bundle beside it learns its concepts.
        """
        bundle = BundleConfigs.of(config_file)
        path = bundle.first
        config = bundle.content(path.stem)
        missing = [key for key in KEYS if key not in config]
        if missing or not (path.parent / "evaluate.json").is_file():
            what = f"lacks {', '.join(missing)}" if missing else "has no evaluate.json beside it"
            raise ConfigError(
                f"config_file must be the train.json of a bundle that trains a classifier, '{path}' {what}: "
                "give bundles/prostate_cancer_classification/configs/train.json first"
            )
        settings = {key: config[key] for key in KEYS}
        return cls(bundle, bundle.beside(settings["concepts"]), settings)
