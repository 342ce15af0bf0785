# SPDX-License-Identifier: Apache-2.0
"""Which part of an image is generated, and how it is laid back."""

import math
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from medti_components.errors import ConfigError
from medti_components.inferers.inpainting import blurred_colours, latent_mask, paste_weight, square_around
from medti_components.transforms.resize_image import resize_image


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
