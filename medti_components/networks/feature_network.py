# SPDX-License-Identifier: Apache-2.0
"""The networks whose features images are compared on; one of them, small, comes with this software."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from medti_components.errors import BaseModelError, ConfigError
from medti_components.files import save_tensors_atomically
from medti_components.networks.finding_classifier import FindingClassifier
from medti_components.networks.hub_folder import one_line
from medti_components.networks.pretrained_features import TransformerFeatures, load_inception

WEIGHTS = Path(__file__).with_suffix(".safetensors")
IMAGE_SIZE = 64
CHANNELS = (16, 32, 64, 128)


class EmbeddedFeatures(nn.Module):
    """Means and deviations of the maps of four residual units that learned to name what is in a procedural scene.

    Each feature has mean 0 and deviation 1 over the scenes, so that a kernel with fixed constants fits them. The
    features tell texture, brightness, shape and place apart; they know nothing of anatomy.

    Args:
        classifier: a logit per word of the scenes' captions; its features are taken.

    >>> EmbeddedFeatures(FindingClassifier(3, 5, CHANNELS))(torch.zeros(2, 3, 96, 96)).shape
    torch.Size([2, 480])
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, classifier: FindingClassifier) -> None:
        super().__init__()
        self.classifier = classifier
        width = classifier.head.in_features
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    @classmethod
    def shipped(cls) -> "EmbeddedFeatures":
        """Return the network with the weights that lie beside this file.

        Raises:
            BaseModelError: they don't, or are those of another network.
        """
        try:
            tensors = {name: tensor.float() for name, tensor in load_file(WEIGHTS).items()}
            network = cls(FindingClassifier(3, len(tensors["classifier.head.bias"]), CHANNELS))
            network.load_state_dict(tensors)
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise BaseModelError(
                f"the weights of the embedded features, '{WEIGHTS}', can't be loaded "
                f"({one_line(error, 80)}): install medti again, or set --features to another network"
            ) from error
        return network.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] -> features (B, 480); areas are averaged down to 64 by 64 pixels."""
        scaled = functional.interpolate(images, (IMAGE_SIZE, IMAGE_SIZE), mode="area")
        return (self.classifier.features(scaled) - self.centre) / self.spread


@torch.no_grad()
def save_embedded_features(
    classifier: FindingClassifier, scenes: Sequence[Mapping[str, Any]], path: str | Path
) -> None:
    """Measure centre and spread of the features on ``scenes`` and write the network in half precision.

    Raises:
        OutputError: the file can't be written.
    """
    classifier = classifier.eval().cpu()
    features = torch.cat(
        [
            classifier.features(torch.stack([scenes[index]["image"] for index in batch.tolist()]))
            for batch in torch.arange(len(scenes)).split(64)
        ]
    )
    network = EmbeddedFeatures(classifier)
    network.centre, network.spread = features.mean(dim=0), features.std(dim=0).clamp(min=1e-3)
    save_tensors_atomically(path, {name: tensor.half() for name, tensor in network.state_dict().items()})


HUB_MODELS = {
    "dinov2": ("facebook/dinov2-small", "ed25f3a31f01632728cabb09d1542f84ab7b0056"),
    "rad-dino": ("microsoft/rad-dino", "110cbc18d5133582e320b43d53bf5c44e410c936"),
}
"""Hub id and pinned commit."""
FEATURES = ("embedded", "inception", *HUB_MODELS)


class FeatureNetwork(nn.Module):
    """A frozen network from images to features; it brings images to its own size and values.

    Args:
        name: what it is, for reports.
        network: images (B, 3, H, W) in [-1, 1] -> features (B, D).

    >>> network = FeatureNetwork("means", nn.Sequential(nn.AvgPool2d(4), nn.Flatten()))
    >>> network(torch.ones(2, 3, 4, 4)).shape, len(network.fingerprint)
    (torch.Size([2, 3]), 64)
    """

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] -> features (B, D), float32."""
        features: Tensor = self.network(images)
        return features.float()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the name and all weights, in hexadecimal digits."""
        digest = hashlib.sha256(self.name.encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(
                name.encode() + tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            )
        return digest.hexdigest()


def feature_network(features: str = "embedded", weights: str | None = None) -> FeatureNetwork:
    """Return the network that a config names.

    Args:
        features: "embedded" (comes with the software), "inception" (that of the FID), "dinov2" or "rad-dino".
        weights: where its weights lie: for "inception" the TorchScript file, for the last two a folder in
            transformers' layout or another hub id; None downloads what is public.

    Raises:
        ConfigError: there is no such network, or "embedded" is given weights.
        BaseModelError: the weights are neither here nor reachable, or are not what they should be.

    >>> feature_network("vgg")
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: features must be one of 'embedded', 'inception', 'dinov2', 'rad-dino', got
    'vgg': set --features
    """
    if features not in FEATURES:
        names = ", ".join(f"'{name}'" for name in FEATURES)
        raise ConfigError(f"features must be one of {names}, got '{features}': set --features")
    if features == "embedded":
        if weights is not None:
            raise ConfigError(
                f"feature_weights must be null with features 'embedded', which has its own, got '{weights}': set "
                "--features to the network that they belong to"
            )
        return FeatureNetwork("embedded", EmbeddedFeatures.shipped())
    if features == "inception":
        return FeatureNetwork("inception", load_inception(weights))
    model, revision = HUB_MODELS[features]
    network = TransformerFeatures.from_pretrained(weights or model, None if weights else revision)
    return FeatureNetwork(features, network)
