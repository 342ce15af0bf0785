# SPDX-License-Identifier: Apache-2.0
"""Classifiers of two classes: made, saved as one safetensors file, and loaded by what the file's metadata say."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from medti_components.errors import ConfigError, DataError
from medti_components.files import save_tensors_atomically
from medti_components.networks.finding_classifier import FindingClassifier
from medti_components.networks.pretrained_resnet import PretrainedResNet
from medti_components.random_streams import stream_seed

ARCHITECTURES = ("resnet", "small")
_MADE_HERE = "give the classifier.safetensors of a training run of this bundle by --classifier"


def new_classifier(
    architecture: str,
    pretrained_model: str | None = None,
    pretrained_revision: str | None = None,
    seed: int = 0,
    initial_classifier: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Return a classifier of images (B, 3, H, W) in [-1, 1] to logits (B, 2).

    Args:
        architecture: 'resnet', pre-trained on photographs, or 'small', a ``FindingClassifier`` of random weights.
        pretrained_model: folder or hub id of the ResNet.
        pretrained_revision: commit of the hub repository.
        seed: of what is drawn at random.
        initial_classifier: a file of :func:`save_classifier` to begin with in place of all that, or None.
        settings: must be those that ``initial_classifier`` was trained with.

    Raises:
        ConfigError: the architecture is unknown, or a setting differs.
        DataError: as :func:`load_classifier` has it.
        BaseModelError: the ResNet is neither there nor reachable.

    >>> type(new_classifier("small")).__name__
    'FindingClassifier'
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"architecture must be one of {', '.join(ARCHITECTURES)}, got '{architecture}'")
    if initial_classifier is not None:
        return load_classifier(initial_classifier, settings or {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "classifier"))
        if architecture == "small":
            return FindingClassifier()
        return PretrainedResNet.from_pretrained(pretrained_model or "", pretrained_revision)


def save_classifier(
    path: str | Path, network: nn.Module, settings: Mapping[str, Any], facts: Mapping[str, Any] | None = None
) -> None:
    """Write a classifier's weights as safetensors.

    Args:
        path: the file.
        network: as :func:`new_classifier` makes it.
        settings: what images must be like, and what the classes are; a run that loads the file must have the same.
        facts: whatever else is worth knowing, for instance the validation AUC.
    """
    metadata = {
        "settings": json.dumps(dict(settings)),
        "resnet": json.dumps(network.config if isinstance(network, PretrainedResNet) else None),
        "facts": json.dumps(dict(facts or {})),
    }
    save_tensors_atomically(path, network.state_dict(), metadata)


def load_classifier(classifier: str | Path, settings: Mapping[str, Any]) -> nn.Module:
    """Load a classifier in evaluation mode.

    Args:
        classifier: a file of :func:`save_classifier`.
        settings: must be those that the file was trained with; ``architecture`` is among them.

    Raises:
        ConfigError: a setting differs.
        DataError: the file is missing, damaged, or not of a training run of this bundle.
    """
    path = Path(classifier)
    metadata, tensors = _read(path)
    before = json.loads(metadata["settings"])
    for key, now in json.loads(json.dumps(dict(settings))).items():
        if before.get(key) != now:
            raise ConfigError(
                f"{key} is {now!r}, but the classifier '{path}' was trained with {before.get(key)!r}: set --{key} to "
                "that, or lay the training's overlays (configs/embedded.json) over this config too"
            )
    config = json.loads(metadata["resnet"])
    network: nn.Module = FindingClassifier() if config is None else PretrainedResNet.of_config(config)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(f"classifier '{path}' holds the weights of another network: {_MADE_HERE}") from error
    return network.eval()


def classifier_facts(classifier: str | Path) -> dict[str, Any]:
    """Return what :func:`save_classifier` was told of a classifier.

    Raises:
        DataError: as :func:`load_classifier` has it.
    """
    metadata, _ = _read(Path(classifier))
    facts: dict[str, Any] = json.loads(metadata["facts"])
    return facts


def _read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    if not path.is_file():
        raise DataError(f"classifier '{path}' does not exist: {_MADE_HERE}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no iterator)
    except (OSError, SafetensorError) as error:
        raise DataError(f"classifier '{path}' is no whole safetensors file: {_MADE_HERE}") from error
    if not {"settings", "resnet", "facts"} <= metadata.keys():
        raise DataError(f"classifier '{path}' does not say what it was trained on: {_MADE_HERE}")
    return metadata, tensors
