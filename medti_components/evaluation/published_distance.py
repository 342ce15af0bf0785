# SPDX-License-Identifier: Apache-2.0
"""The Frechet distance as the paper on medical textual inversion published it, for figures beside the paper's."""

import torch
from torch import Tensor

from medti_components.evaluation.image_features import ImageFeatures
from medti_components.metrics.frechet_distance import FrechetDistance
from medti_components.metrics.interval_estimate import IntervalEstimate


def standardized_pixels(images: Tensor) -> Tensor:
    """Bring each image (n, 3, H, W) by itself to mean 128 and deviation 64, as uint8 in [0, 255].

    An image of one value becomes 128.

    >>> standardized_pixels(torch.tensor([-1.0, 1.0]).reshape(1, 1, 1, 2)).tolist()
    [[[[64, 192]]]]
    """
    flat = images.double().flatten(1)
    spread = flat.std(dim=1, correction=0, keepdim=True)
    scores = (flat - flat.mean(dim=1, keepdim=True)) / torch.where(spread > 0, spread, 1.0)
    return (scores * 64 + 128).clamp(0, 255).to(torch.uint8).reshape(images.shape)


class PublishedDistance:
    """FID of images that are z-scored one by one, times 64 plus 128, as uint8; the reference is the training set.

    So de Wilde et al., "Medical diffusion on a budget", 2024, have it, on Inception's features. Since the reference is
    what the words were learned from, copies score best.

    Args:
        features: Inception's for figures to hold beside the paper's.
        distance: on features.
    """

    def __init__(self, features: ImageFeatures, distance: FrechetDistance | None = None) -> None:
        self.features = features
        self.distance = distance or FrechetDistance()

    def __call__(self, generated: Tensor, training: Tensor) -> IntervalEstimate:
        """Measure the distance between images (m, 3, H, W) and (n, 3, H, W) in [-1, 1].

        Raises:
            DataError: as :class:`ImageFeatures` and :class:`FrechetDistance`.
        """
        seen = [self.features(standardized_pixels(images).float() / 127.5 - 1) for images in (generated, training)]
        return self.distance(*seen)
