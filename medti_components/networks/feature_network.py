# SPDX-License-Identifier: Apache-2.0
"""The networks whose features images are compared on, under the names that a config calls them by."""

import hashlib
from functools import cached_property

import torch
from torch import Tensor, nn

from medti_components.errors import ConfigError
from medti_components.networks.embedded_features import EmbeddedFeatures
from medti_components.networks.inception_features import load_inception
from medti_components.networks.transformer_features import TransformerFeatures

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
