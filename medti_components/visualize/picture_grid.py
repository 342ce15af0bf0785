# SPDX-License-Identifier: Apache-2.0
"""Pictures side by side: bare ones for a report, and figures with a title per row and per picture."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from medti_components.files import write_atomically
from medti_components.handlers.contact_sheet_saver import outline_of
from medti_components.transforms.seen_picture import as_seen

INCHES = 1.5


class PictureGrid:
    """Rows of pictures, drawn in one PNG.

    Args:
        caption: above all.

    >>> grid = PictureGrid("Synthetic images")
    >>> grid.add("row", [("a", np.zeros((4, 4), dtype=np.uint8)), ("b", None)])
    >>> len(grid)
    1
    """

    def __init__(self, caption: str) -> None:
        self.caption = caption
        self._rows: list[tuple[str, list[tuple[str, np.ndarray | None]]]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, title: str, pictures: Sequence[tuple[str, np.ndarray | None]]) -> None:
        """Add a row of titles and pictures, uint8 (H, W) in grey or (H, W, 3); None leaves the place empty."""
        self._rows.append((title, list(pictures)))

    def write(self, path: Path) -> Path:
        """Write the PNG and return its path.

        Raises:
            OutputError: it can't be written.
        """
        num_columns = max(len(pictures) for _, pictures in self._rows)
        figure = Figure(figsize=(INCHES * num_columns + 1.2, (INCHES + 0.25) * len(self) + 0.4), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(self.caption, fontsize="medium")
        panels = figure.subplots(len(self), num_columns, squeeze=False)
        for (title, pictures), row in zip(self._rows, panels, strict=True):
            for axes in row:
                axes.set_xticks([])
                axes.set_yticks([])
                for side in axes.spines.values():
                    side.set_visible(False)
            row[0].set_ylabel(title, fontsize="small")
            for (heading, picture), axes in zip(pictures, row, strict=False):
                axes.set_title(heading, fontsize="small")
                if picture is not None:
                    axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        with write_atomically(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
        return path


def grid_png(columns: Sequence[Tensor], smallest_edge: int = 128, in_colour: bool = False) -> bytes:
    """Return images as a PNG, a column each: channels (H, W) in [-1, 1] one below the other, in grey.

    Args:
        columns: (channels, H, W) each, all of one shape.
        smallest_edge: small images are enlarged to about as many pixels.
        in_colour: the three channels are red, green and blue, and make one picture.
    """
    if in_colour:
        pixels = torch.cat([column.permute(1, 2, 0) for column in columns], dim=1)
    else:
        pixels = torch.cat([torch.cat(list(column), dim=0) for column in columns], dim=1)
    shown = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
    scale = max(1, smallest_edge // columns[0].shape[-1])
    buffer = io.BytesIO()
    Image.fromarray(shown.repeat(scale, axis=0).repeat(scale, axis=1)).save(buffer, format="PNG")
    return buffer.getvalue()


def named_channels(image: Tensor, channel_names: Sequence[str] | None) -> Tensor:
    """Return the channels (C, H, W) that a report shows: those that have names, or red, green and blue."""
    return image[: 3 if channel_names is None else len(channel_names)]


def read_picture(path: Path) -> np.ndarray | None:
    """Return the pixels of a picture, uint8 (H, W, 3), None where there is no file."""
    if not path.is_file():
        return None
    with Image.open(path) as opened:
        return np.asarray(as_seen(opened).convert("RGB"))


def channel(picture: np.ndarray | None, index: int) -> np.ndarray | None:
    """Return one channel of a picture, (H, W)."""
    return None if picture is None else picture[..., index]


def outlined(picture: np.ndarray | None, mask: np.ndarray | None) -> np.ndarray | None:
    """Return a picture, (H, W, 3), with the outline of what is not 0 in a mask of its size, white."""
    if picture is None or mask is None:
        return picture
    shown = picture.copy()
    shown[outline_of(torch.from_numpy(mask.any(axis=-1))).numpy()] = 255
    return shown
