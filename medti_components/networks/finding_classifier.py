# SPDX-License-Identifier: Apache-2.0
"""A small convolutional network that says how likely a finding is, and by which features."""

import torch
from monai.networks.blocks import ResidualUnit
from torch import nn


class FindingClassifier(nn.Module):
    """MONAI's residual units, halving the size at each, then the mean over places and one logit a class.

    Normalised by groups of channels rather than by the batch, so that an image's features do not depend on the set that
    it is evaluated with or was trained beside. (MONAI's ``ResNet`` keeps batch normalisation whatever its ``norm``.)

    Args:
        in_channels: channels of the images.
        num_classes: number of classes; with two, class 1 is the finding.
        channels: number of feature maps at each scale; the last is the number of features.
        num_groups: groups of channels that are normalised together; divides every entry of ``channels``.

    >>> classifier = FindingClassifier().eval()
    >>> images = torch.zeros(2, 3, 64, 64)
    >>> classifier(images).shape, classifier.features(images).shape, classifier.probability(images).shape
    (torch.Size([2, 2]), torch.Size([2, 64]), torch.Size([2]))
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 2,
        channels: tuple[int, ...] = (16, 32, 48, 64),
        num_groups: int = 8,
    ) -> None:
        super().__init__()
        norm = ("group", {"num_groups": num_groups})
        units = [
            ResidualUnit(2, before, after, strides=2, subunits=2, act="relu", norm=norm, adn_ordering="NA")
            for before, after in zip((in_channels, *channels), channels, strict=False)
        ]
        self.backbone = nn.Sequential(*units, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(channels[-1], num_classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) in [-1, 1] -> features (B, channels[-1]), averaged over places."""
        features: torch.Tensor = self.backbone(images)
        return features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) in [-1, 1] -> logits (B, num_classes)."""
        logits: torch.Tensor = self.head(self.features(images))
        return logits

    def probability(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) in [-1, 1] -> probability (B,) of class 1, in [0, 1]."""
        return self(images).softmax(1)[:, 1]
