# SPDX-License-Identifier: Apache-2.0
"""A small convolutional network that says how likely a finding is, and by which features."""

import torch
from monai.networks.blocks import ResidualUnit
from torch import nn


class FindingClassifier(nn.Module):
    """MONAI's residual units, halving the size at each; mean and spread of each map of each unit; one logit per class.

    The features are of all scales, so that they also tell images apart that have the same finding: features of the last
    unit alone shrink to one cluster per class, and noise can lie in it too. Groups of channels are normalised, not the
    batch, so that an image's features do not depend on the images beside it.

    Args:
        in_channels: channels of the images.
        num_classes: number of classes; with two, class 1 is the finding. Where several findings may be in an image, the
            number of findings, and each logit is the log-odds of one.
        channels: number of feature maps of each unit.
        num_groups: groups of channels that are normalised together; divides every entry of ``channels``.

    >>> classifier = FindingClassifier().eval()
    >>> images = torch.zeros(2, 3, 64, 64)
    >>> classifier(images).shape, classifier.features(images).shape, classifier.probability(images).shape
    (torch.Size([2, 2]), torch.Size([2, 320]), torch.Size([2]))
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
        self.units = nn.ModuleList(
            ResidualUnit(2, before, after, strides=2, subunits=2, act="relu", norm=norm, adn_ordering="NA")
            for before, after in zip((in_channels, *channels), channels, strict=False)
        )
        self.head = nn.Linear(2 * sum(channels), num_classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) in [-1, 1] -> features (B, 2 sum(channels)): of each unit, means, then deviations."""
        maps, features = images, []
        for unit in self.units:
            maps = unit(maps)
            variance, mean = torch.var_mean(maps, dim=(2, 3))
            features += [mean, (variance + 1e-6).sqrt()]
        return torch.cat(features, dim=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) in [-1, 1] -> logits (B, num_classes)."""
        logits: torch.Tensor = self.head(self.features(images))
        return logits

    def probability(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) in [-1, 1] -> probability (B,) of class 1 of two, in [0, 1]."""
        return self(images).softmax(1)[:, 1]
