# SPDX-License-Identifier: Apache-2.0
"""How alike the images of one concept are to each other."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from medti_components.errors import DataError
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.jackknife_interval import JackknifeInterval
from medti_components.random_streams import random_stream

BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
KERNEL_SIZE = 11


class ImageDiversity:
    """Mean multi-scale structural similarity of pairs of images: 1 where all are the same, lower where they vary.

    Similarity is Wang et al.'s, "Multiscale structural similarity for image quality assessment", 2003, by torchmetrics,
    with as many of the five scales as the window of 11 pixels fits into (three at 64 pixels), the first weights scaled
    to a sum of 1. Each image is paired with the ones after it in a random circle.

    Args:
        num_partners: pairs an image, on average.
        seed: draws the circle.
        interval: of subsets.
        batch_size: pairs at once.

    >>> grey = torch.zeros(8, 3, 64, 64)
    >>> ImageDiversity()(grey).value
    1.0
    """

    def __init__(
        self,
        num_partners: int = 5,
        seed: int = 0,
        interval: JackknifeInterval | None = None,
        batch_size: int = 64,
    ) -> None:
        self.num_partners = num_partners
        self.seed = seed
        self.interval = interval or JackknifeInterval(seed=seed)
        self.batch_size = batch_size

    def __call__(self, images: Tensor) -> IntervalEstimate:
        """Measure images (n, 3, H, W) in [-1, 1].

        Raises:
            DataError: there are fewer than four images, or they are smaller than the window.
        """
        if images.ndim != 4 or len(images) < 4 or min(images.shape[-2:]) < KERNEL_SIZE:
            raise DataError(
                f"images must have shape (n, 3, height, width) with n >= 4 and edges of {KERNEL_SIZE} or more, got "
                f"{tuple(images.shape)}: evaluate more or larger images"
            )
        count = len(images)
        order = torch.randperm(count, generator=random_stream(self.seed, "diversity", count))
        partners = min(self.num_partners, (count - 1) // 2)
        pairs = torch.cat([torch.stack([order, order.roll(-step)], dim=1) for step in range(1, partners + 1)])
        similarities = torch.cat([self._similarity(images, part) for part in pairs.split(self.batch_size)])

        def mean(chosen: Sequence[Tensor]) -> Tensor:
            kept = torch.zeros(count, dtype=torch.bool)
            kept[chosen[0]] = True
            return similarities[kept[pairs].all(dim=1)].mean()

        return self.interval(mean, {"images": count}, highest=1.0)

    def _similarity(self, images: Tensor, pairs: Tensor) -> Tensor:
        betas = scale_weights(min(images.shape[-2:]))
        first, second = (images[pairs[:, side]].float() for side in (0, 1))
        similarity = multiscale_structural_similarity_index_measure(
            first, second, kernel_size=KERNEL_SIZE, betas=betas, data_range=2.0, reduction="none"
        )
        return similarity.double()


def scale_weights(edge: int) -> tuple[float, ...]:
    """Return the weights of the scales that an image of ``edge`` pixels has room for.

    >>> len(scale_weights(64)), len(scale_weights(512)), sum(scale_weights(32))
    (3, 5, 1.0)
    """
    fitting = [
        scales
        for scales in range(1, len(BETAS) + 1)
        if edge // max(1, (scales - 1) ** 2) >= KERNEL_SIZE and edge // 2 ** (scales - 1) >= KERNEL_SIZE
    ]
    chosen = BETAS[: max(fitting)]
    return tuple(beta / sum(chosen) for beta in chosen)
