# SPDX-License-Identifier: Apache-2.0
"""Bring the features of a small network to unit scale, so that a kernel with fixed constants fits them."""

from dataclasses import dataclass

import torch

from medti_components.errors import DataError


@dataclass(frozen=True)
class FeatureScale:
    """Centre and spread of real images' features; ``scale(f) = (f - centre) / spread``, one spread for all features.

    The kernel of KID, (x.y / d + 1) ** 3, was made for Inception's features. Those of a small classifier have whatever
    size its training left them; this makes the distance independent of that. A spread for each feature would blow up
    those that hardly vary.

    Args:
        centre: mean features, (d,).
        spread: root of the mean variance over the features, > 0.

    >>> scale = FeatureScale.of(torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]))
    >>> scale(torch.tensor([[2.0, 1.0]]))
    tensor([[0., 0.]])
    """

    centre: torch.Tensor
    spread: torch.Tensor

    @classmethod
    def of(cls, features: torch.Tensor) -> "FeatureScale":
        """Take the scale of real images' ``features`` (n, d), n >= 2.

        Raises:
            DataError: all images have the same features.
        """
        spread = features.var(dim=0).mean().sqrt()
        if not float(spread) > 0:
            raise DataError(
                "features must differ between images, got one value for all: train the classifier for longer"
            )
        return cls(features.mean(dim=0), spread)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Scale ``features`` (n, d)."""
        return (features - self.centre) / self.spread
