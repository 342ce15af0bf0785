# SPDX-License-Identifier: Apache-2.0
"""Lays generated images out on one sheet with labels, painted ones beside the input and the mask."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from medti_components.files import write_atomically
from medti_components.inferers.inpainting_canvas import InpaintingCanvas
from medti_components.inferers.prompt_composition import ComposedPrompt
from medti_components.transforms.eight_bit_picture import eight_bits, png_text, to_pixels

TILE = 128
logger = logging.getLogger(__name__)

MARGIN = 6
FONT_SIZE = 15
LINE = 22
INK, PAPER = (20, 20, 20), (255, 255, 255)


class ContactSheetSaver:
    """Writes ``contact_sheet.png`` when a run ends: per prompt (or other ``row_key``) a heading and a row of images.

    Args:
        output_dir: the run's folder.
        num_columns: images of each row on the sheet, the first ones.
        row_key: entry of the requests whose images share a row.
        column_key: entry of the requests that stands above each image.
        sequences: names of the three channels; each then has a row of its own, in grey. None shows the image in colour.
        caption: a line above all.
    """

    def __init__(
        self,
        output_dir: str | Path,
        num_columns: int = 8,
        row_key: str = "prompt",
        column_key: str = "seed",
        sequences: Sequence[str] | None = None,
        caption: str = "Synthetic images",
    ) -> None:
        self.path = Path(output_dir) / "contact_sheet.png"
        self.num_columns = num_columns
        self.row_key = row_key
        self.column_key = column_key
        self.sequences = None if sequences is None or len(sequences) != 3 else list(sequences)
        self.caption = caption
        self._rows: dict[str, list[tuple[str, np.ndarray]]] = {}
        self._prompts: dict[str, None] = {}

    def attach(self, engine: Engine) -> None:
        """Collect after each batch, write at the end."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.save)

    def collect(self, engine: Any) -> None:
        """Keep the first images of each row."""
        batch = engine.state.batch
        self._prompts |= dict.fromkeys(prompt.text for prompt in batch["prompt"])
        for row_value, column_value, image in zip(
            batch[self.row_key], batch[self.column_key], engine.state.output["pred"], strict=True
        ):
            row = self._rows.setdefault(_heading(self.row_key, row_value), self.first_tiles())
            if len(row) < self.num_columns:
                row.append((_heading(self.column_key, column_value), self.pixels(image)))

    def first_tiles(self) -> list[tuple[str, np.ndarray]]:
        """Return labels and pixels (H, W, 3) that a row begins with."""
        return []

    def pixels(self, image: Tensor) -> np.ndarray:
        """Return what the sheet shows of a generated image (3, H, W) in [-1, 1], uint8 (H, W, 3)."""
        return to_pixels(image)

    def save(self, engine: Any = None) -> None:
        """Draw and write the sheet, and say where the pictures are."""
        del engine
        if not self._rows:
            return
        sheet = self.drawn()
        with write_atomically(self.path) as path:
            sheet.save(path, pnginfo=png_text({"synthetic": "true", "prompts": "\n".join(self._prompts)}))
        logger.info("the pictures are in '%s', many on one page in '%s'", self.path.parent / "images", self.path)

    def drawn(self) -> Image.Image:
        """Return the sheet as a picture."""
        shown = max(len(row) for row in self._rows.values())
        names: list[str | None] = [None] if self.sequences is None else list(self.sequences)
        tile = max(TILE, next(iter(self._rows.values()))[0][1].shape[0] // 2)
        left = MARGIN if self.sequences is None else 52
        row_height = 2 * LINE + len(names) * (tile + MARGIN) + MARGIN
        width = max(left + shown * (tile + MARGIN), 420)
        sheet = Image.new("RGB", (width, LINE + 2 * MARGIN + len(self._rows) * row_height), PAPER)
        draw = ImageDraw.Draw(sheet)
        font = ImageFont.load_default(FONT_SIZE)
        small = ImageFont.load_default(FONT_SIZE - 3)
        draw.text((MARGIN, MARGIN), _fitted(draw, self.caption, font, width - 2 * MARGIN), INK, font)
        top = LINE + 2 * MARGIN
        for heading, row in self._rows.items():
            draw.text((MARGIN, top), _fitted(draw, heading, font, width - 2 * MARGIN), INK, font)
            for column, (label, pixels) in enumerate(row):
                x = left + column * (tile + MARGIN)
                draw.text((x, top + LINE), label, INK, small)
                for line, name in enumerate(names):
                    y = top + 2 * LINE + line * (tile + MARGIN)
                    picture = pixels if name is None else pixels[..., line]
                    sheet.paste(Image.fromarray(picture).resize((tile, tile), Image.Resampling.BICUBIC), (x, y))
                    if column == 0 and name is not None:
                        draw.text((MARGIN, y + tile // 2 - FONT_SIZE), name, INK, font)
            top += row_height
        return sheet


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
        bright = eight_bits(pixels, self.canvas.source.highest)
        return squared(bright if pixels.ndim == 3 else np.repeat(bright[..., None], 3, axis=-1))


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


def _heading(key: str, value: Any) -> str:
    """Say what a row or column is.

    >>> _heading("prompt", ""), _heading("seed", 3), _heading("interpolation_weight", 0.25)
    ('(empty prompt)', 'seed 3', 'weight 0.25')
    """
    text = value.text if isinstance(value, ComposedPrompt) else value
    if isinstance(text, str):
        return text or "(empty prompt)"
    return f"{key.rpartition('_')[2]} {float(value):.6g}" if key != "seed" else f"seed {int(value)}"


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> str:
    """Shorten ``text`` with an ellipsis until it fits ``width`` pixels."""
    shown = text.encode("latin-1", "replace").decode("latin-1")  # what the built-in font can draw
    while len(shown) > 4 and draw.textlength(shown, font) > width:
        shown = shown[:-4] + "..."
    return shown
