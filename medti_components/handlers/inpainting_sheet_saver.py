# SPDX-License-Identifier: Apache-2.0
"""Lays out what was painted into, where, and the results."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn import functional

from medti_components.handlers.contact_sheet_saver import ContactSheetSaver
from medti_components.inferers.inpainting_canvas import InpaintingCanvas


class InpaintingSheetSaver(ContactSheetSaver):
    """Writes ``contact_sheet.png``: in each prompt's row the input, the mask's outline on it, and the results.

    Args:
        output_dir: the run's folder.
        canvas: image and mask.
        num_columns: results of each prompt on the sheet, the first ones.
        sequences: names of the three channels; each then has a row of its own, in grey.
        caption: a line above all.
    """

    def __init__(
        self,
        output_dir: str | Path,
        canvas: InpaintingCanvas,
        num_columns: int = 6,
        sequences: Sequence[str] | None = None,
        caption: str = "Painted images (synthetic within the mask)",
    ) -> None:
        super().__init__(output_dir, num_columns + 2, sequences=sequences, caption=caption)
        self.canvas = canvas

    def first_tiles(self) -> list[tuple[str, np.ndarray]]:
        """Return the input, and the same with the mask's outline."""
        shown = self._shown(self.canvas.source.pixels)
        outlined = shown.copy()
        outline = squared(outline_of(self.canvas.source.mask).numpy())
        for channel in range(3):
            values = outlined[..., channel]
            values[outline] = 255 if values[outline].mean() < 128 else 0
        return [("input", shown), ("mask", outlined)]

    def pixels(self, image: Tensor) -> np.ndarray:
        """Return the picture with a generated image laid over it."""
        return self._shown(self.canvas.pasted(image))

    def _shown(self, pixels: np.ndarray) -> np.ndarray:
        bright = pixels if pixels.dtype == np.uint8 else np.rint(pixels / self.canvas.source.highest * 255)
        coloured = bright if pixels.ndim == 3 else np.repeat(bright[..., None], 3, axis=-1)
        return squared(coloured.astype(np.uint8))


def outline_of(mask: Tensor) -> Tensor:
    """Return the pixels of a mask, bool (H, W), that have a neighbour outside it or lie at the image's edge.

    >>> import torch
    >>> mask = torch.ones(4, 5, dtype=torch.bool)
    >>> outline_of(mask).int().tolist()
    [[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]]
    """
    outside = functional.pad(1.0 - mask[None].float(), (1, 1, 1, 1), value=1.0)
    return mask & (functional.max_pool2d(outside, 3, stride=1)[0] > 0)


def squared(pixels: np.ndarray) -> np.ndarray:
    """Return (H, W) or (H, W, C) in the middle of the smallest square, with zeros around."""
    height, width = pixels.shape[:2]
    edge = max(height, width)
    top, left = (edge - height) // 2, (edge - width) // 2
    square = np.zeros((edge, edge, *pixels.shape[2:]), pixels.dtype)
    square[top : top + height, left : left + width] = pixels
    return square
