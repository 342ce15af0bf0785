# SPDX-License-Identifier: Apache-2.0
"""Resizing images to the size of the base model."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch.nn import functional

from medti_components.errors import ConfigError


def resize_image(image: torch.Tensor, size: int | Sequence[int]) -> torch.Tensor:
    """Resize an image (C, H, W) to ``size`` (height, width; or one number for both), within its range of values.

    Cubic convolution, its kernel widened when sizing down: the antialiasing of image editors. MONAI's Resize blurs by a
    gaussian first, which costs a 64-pixel image much of its detail.

    >>> image = torch.linspace(0, 1, 8).expand(3, 8, 8)
    >>> small = resize_image(image, 4)
    >>> tuple(small.shape), bool(small.min() >= 0), bool(small.max() <= 1)
    ((3, 4, 4), True, True)
    """
    height, width = (size, size) if isinstance(size, int) else size
    plain = torch.as_tensor(image, dtype=torch.float32)
    if plain.shape[-2:] == (height, width):
        return plain
    resized = functional.interpolate(plain[None], (height, width), mode="bicubic", align_corners=False, antialias=True)[
        0
    ]
    return resized.clamp(plain.min(), plain.max())


def longest_edge_size(height: int, width: int, longest_edge: int) -> tuple[int, int]:
    """Return the size (height, width) of the same shape whose longer edge is ``longest_edge``; none is below 1.

    >>> longest_edge_size(320, 390, 64), longest_edge_size(2000, 1000, 512)
    ((53, 64), (512, 256))
    """
    longer = max(height, width)
    return max(1, round(height * longest_edge / longer)), max(1, round(width * longest_edge / longer))


class ResizeImaged(MapTransform):
    """Dictionary form of :func:`resize_image`.

    Args:
        keys: images (C, H, W).
        size: pixels of an edge, or (height, width).
        keep_shape: ``size`` is of the longer edge, and the shorter one follows.

    Example:
        >>> tuple(ResizeImaged("image", 16)({"image": torch.zeros(3, 30, 30)})["image"].shape)
        (3, 16, 16)
        >>> tuple(ResizeImaged("image", 16, keep_shape=True)({"image": torch.zeros(3, 30, 60)})["image"].shape)
        (3, 8, 16)

    Raises:
        ConfigError: two sizes are given for a shape that is kept.
    """

    def __init__(self, keys: KeysCollection, size: int | Sequence[int], keep_shape: bool = False) -> None:
        super().__init__(keys)
        if keep_shape and not isinstance(size, int):
            raise ConfigError(f"size must be one number where keep_shape is true, got {size}: correct 'preprocessing'")
        self.size = size
        self.keep_shape = keep_shape

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        resized = dict(data)
        for key in self.key_iterator(resized):
            size = self.size
            if self.keep_shape and isinstance(size, int):
                height, width = resized[key].shape[-2:]
                size = longest_edge_size(height, width, size)
            resized[key] = resize_image(resized[key], size)
        return resized
