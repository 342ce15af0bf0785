# SPDX-License-Identifier: Apache-2.0
"""The square of an image that is generated, and how it is laid over the image: the web UI's way of inpainting."""

import math
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medti_components.errors import ConfigError
from medti_components.transforms.gaussian_blur import gaussian_blur
from medti_components.transforms.resize_image import resize_image

COLOUR_RADII = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))
COLOUR_SIZE = 512  # pixels of an image that those radii are meant for


class PaintedPicture(Protocol):
    """What is painted into: a picture's values and mask, and the way back to its own pixels."""

    image: Tensor
    mask: Tensor
    pixels: np.ndarray
    highest: float
    facts: dict[str, Any]
    volumes: Any

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the picture."""

    def pasted(self, painted: Tensor, weight: Tensor) -> np.ndarray:
        """Return the picture's pixels with ``painted`` (3, H, W) in [-1, 1] laid over by ``weight`` (H, W)."""


class InpaintingCanvas:
    """The square of an image that the base model sees at its own size: the whole image, or the mask's surroundings.

    Args:
        source: image and mask.
        mask_blur: standard deviation, in pixels of the image, of the Gaussian that softens the mask.
        only_masked: generate only a square around the mask, at the model's full size; the image may have any shape.
        padding: pixels of the image around the mask in that square.

    Raises:
        ConfigError: a setting does not fit, or the image is not square while the whole of it is generated.
    """

    def __init__(
        self, source: PaintedPicture, mask_blur: float = 4.0, only_masked: bool = False, padding: int = 32
    ) -> None:
        if isinstance(mask_blur, bool) or not isinstance(mask_blur, (int, float)) or not 0 <= mask_blur < math.inf:
            raise ConfigError(f"mask_blur must be a number of pixels of at least 0, got {mask_blur!r}")
        if isinstance(padding, bool) or not isinstance(padding, int) or padding < 0:
            raise ConfigError(f"padding must be a whole number of pixels of at least 0, got {padding!r}")
        self.source = source
        self.mask_blur = float(mask_blur)
        self.only_masked = only_masked
        self.padding = padding
        self.weight = paste_weight(source.mask, self.mask_blur)
        height, width = source.size
        if only_masked:
            self.top, self.left, self.edge = square_around(self.weight, padding)
        elif height == width:
            self.top, self.left, self.edge = 0, 0, height
        else:
            raise ConfigError(
                f"image must be square, as the base model's are, got {width} x {height} pixels: crop it, or generate "
                "the mask's surroundings alone by --only_masked true"
            )

    def image(self, size: int) -> Tensor:
        """Return the square, (3, size, size) in [-1, 1]."""
        return resize_image(self._square(self.source.image), size)

    def filled_image(self, size: int) -> Tensor:
        """Return the square with blurred colours in place of what is painted."""
        weight = resize_image(self._square(self.weight[None]), size)[0]
        return blurred_colours(self.image(size), weight)

    def latent_mask(self, size: tuple[int, int]) -> Tensor:
        """Return which latents of the square are painted, bool (h, w).

        Raises:
            ConfigError: the mask is too small to cover one.
        """
        blurred = latent_mask(self._square(self.source.mask), self.mask_blur, size)
        if not bool(blurred.any()):
            cell = self.edge / size[1]
            remedy = "lower --padding" if self.only_masked else "set --only_masked true"
            raise ConfigError(
                f"mask must cover half a latent, {cell:.3g} x {cell:.3g} pixels of this image, after mask_blur "
                f"{self.mask_blur:g}: enlarge it, lower --mask_blur, or {remedy}"
            )
        return blurred

    def placed(self, generated: Tensor) -> Tensor:
        """Return the image (3, H, W) in [-1, 1] with a generated square (3, size, size) in its place."""
        placed = self.source.image.clone()
        square = resize_image(generated.float().cpu(), self.edge)
        placed[:, self.top : self.top + self.edge, self.left : self.left + self.edge] = square
        return placed

    def pasted(self, generated: Tensor) -> np.ndarray:
        """Return the picture's pixels with a generated square (3, size, size) in [-1, 1] laid over by the soft mask."""
        return self.source.pasted(self.placed(generated), self.weight)

    def _square(self, values: Tensor) -> Tensor:
        return values[..., self.top : self.top + self.edge, self.left : self.left + self.edge]


def paste_weight(mask: Tensor, mask_blur: float) -> Tensor:
    """Return how much of each pixel is painted: 1 within the mask, down to 0 within ``2.5 * mask_blur`` pixels of it.

    It is twice the blurred mask, cut off at 1, which at a straight edge is 1 up to the edge.

    Args:
        mask: bool (H, W).
        mask_blur: standard deviation of the Gaussian, in pixels.

    Returns:
        float32 (H, W) in [0, 1].

    >>> mask = torch.zeros(1, 9, dtype=torch.bool)
    >>> mask[:, :4] = True
    >>> [round(value, 2) for value in paste_weight(mask, 1.0)[0].tolist()]
    [1.0, 1.0, 1.0, 1.0, 0.6, 0.12, 0.01, 0.0, 0.0]
    """
    return (2.0 * gaussian_blur(mask[None].float(), mask_blur)[0]).clamp(0.0, 1.0)


def latent_mask(mask: Tensor, mask_blur: float, size: tuple[int, int]) -> Tensor:
    """Return which latents are painted: those of which the blurred mask covers at least half.

    Args:
        mask: bool (H, W).
        mask_blur: see :func:`paste_weight`.
        size: of the latents, (h, w).

    Returns:
        bool (h, w).

    >>> mask = torch.zeros(8, 8, dtype=torch.bool)
    >>> mask[:3] = True
    >>> latent_mask(mask, 0.0, (2, 2)).tolist()  # three rows of four
    [[True, True], [False, False]]
    """
    blurred = gaussian_blur(mask[None].float(), mask_blur)
    return functional.interpolate(blurred[None], size, mode="area")[0, 0] >= 0.5 - 1e-6


def blurred_colours(image: Tensor, weight: Tensor) -> Tensor:
    """Fill the painted part of an image with the blurred colours of its surroundings (the web UI's ``masking.fill``).

    The painted pixels are left out. Blurs of the rest are laid over one another, the widest first, and the image itself
    last. Radii of 256 to 2 pixels are for images of 512.

    Args:
        image: (3, H, W) in [-1, 1].
        weight: (H, W) in [0, 1], 1 where nothing of the image is to be left.

    Returns:
        (3, H, W) in [-1, 1]; the image itself where the weight is 0.
    """
    known = 1.0 - weight[None]
    premultiplied = torch.cat([image * known, known])
    filled = torch.zeros_like(premultiplied)
    scale = max(image.shape[-2:]) / COLOUR_SIZE
    for radius, repeats in COLOUR_RADII:
        layer = gaussian_blur(premultiplied, radius * scale)
        for _ in range(repeats):
            filled = layer + filled * (1.0 - layer[3:])
    return (filled[:3] / filled[3:].clamp(min=1e-6)).clamp(-1.0, 1.0)


def square_around(weight: Tensor, padding: int) -> tuple[int, int, int]:
    """Return the smallest square that holds what is painted and ``padding`` pixels around it, shifted into the image.

    Args:
        weight: (H, W), above 0 where it is painted.
        padding: in pixels; less where the image ends, or is too small for it.

    Returns:
        Top row, left column, edge.

    Raises:
        ConfigError: what is painted is larger than the largest square in the image.

    >>> weight = torch.zeros(40, 60)
    >>> weight[10:20, 50:56] = 1
    >>> square_around(weight, 4)  # 18 rows of 14 columns, widened and shifted to the left
    (6, 42, 18)
    """
    rows, columns = weight.nonzero(as_tuple=True)
    top, bottom = int(rows.min()), int(rows.max()) + 1
    left, right = int(columns.min()), int(columns.max()) + 1
    height, width = weight.shape
    largest = min(height, width)
    needed = max(bottom - top, right - left)
    if needed > largest:
        raise ConfigError(
            f"mask and its blur must fit a square within the image of {width} x {height} pixels, they span "
            f"{right - left} x {bottom - top}: draw a smaller mask, or crop the image"
        )
    edge = min(needed + 2 * padding, largest)
    return _shifted(top, bottom, edge, height), _shifted(left, right, edge, width), edge


def _shifted(first: int, end: int, edge: int, length: int) -> int:
    """Return where an interval of ``edge`` begins that has first to end in its middle, or as near to it as it can."""
    return min(max((first + end - edge) // 2, 0), length - edge)
