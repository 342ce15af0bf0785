# SPDX-License-Identifier: Apache-2.0
"""Pictures of a data set, to be found again where they were resized, cropped a little, compressed or put on a sheet."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from scipy import ndimage
from torch import Tensor
from tqdm import tqdm

from medti_components.errors import DataError
from medti_components.metrics.aligned_correlation import AlignedCorrelation, detail_correlation

EDGE = 64  # pixels along which pictures are compared
SMALLEST_TILE = 32
PAPER_NOISE = 48  # of 255, as JPEG leaves it around a tile
SAME = 0.75  # correlation of details: copies of many kinds have more, those of different patients less
NUM_LIKELY = 3
NUM_AT_ONCE = 1024


class KnownPictures:
    """Looks for pictures of a data set among others.

    The likely ones are those that :class:`AlignedCorrelation` puts first; a picture is one of them where their details
    agree, see :func:`detail_correlation`. The threshold is fixed, as it is the very picture that is looked for,
    and none that resembles it as :class:`CopyDetection` does.

    Args:
        paths: of the pictures.
        show_progress: show a bar on stderr.
    """

    def __init__(self, paths: Sequence[Path], show_progress: bool = False) -> None:
        self.paths = list(paths)
        self.show_progress = show_progress
        self.correlation = AlignedCorrelation(show_progress=False)

    @torch.no_grad()
    def among(self, pictures: Sequence[Image.Image]) -> list[Path | None]:
        """Return which picture of the data set each of ``pictures`` shows, whole or in part; None where there is none.

        Raises:
            DataError: a picture of the data set can't be read.
        """
        tiles = [(index, tile) for index, picture in enumerate(pictures) for tile in tiles_of(picture)]
        found: list[tuple[float, Path | None]] = [(SAME, None)] * len(pictures)
        if not tiles or not self.paths:
            return [None] * len(pictures)
        images = torch.stack([_small(tile) for _, tile in tiles])
        for paths, sources in self._sources():
            likely = self.correlation(images, sources).topk(min(NUM_LIKELY, len(paths)), dim=1).indices
            for orientation in self.correlation.orientations(sources):
                for column in likely.T:
                    detail = detail_correlation(images, orientation[column]).tolist()
                    for (index, _), value, place in zip(tiles, detail, column.tolist(), strict=True):
                        found[index] = max(found[index], (value, paths[place]), key=lambda pair: pair[0])
        return [path for _, path in found]

    def _sources(self) -> Iterator[tuple[list[Path], Tensor]]:
        """Yield the data set's pictures, some at a time."""
        with tqdm(total=len(self.paths), desc="comparing pictures", delay=2, disable=not self.show_progress) as bar:
            for first in range(0, len(self.paths), NUM_AT_ONCE):
                paths = self.paths[first : first + NUM_AT_ONCE]
                yield paths, torch.stack([_read(path) for path in paths])
                bar.update(len(paths))


def tiles_of(picture: Image.Image) -> Iterator[Image.Image]:
    """Yield a picture, and each picture that stands on it apart, as on a contact sheet.

    Paper has the colour of the top left corner; what is smaller than 32 pixels is lettering.

    >>> sheet = Image.new("L", (200, 100), 255)
    >>> sheet.paste(0, (10, 20, 74, 84))
    >>> [tile.size for tile in tiles_of(sheet)]
    [(200, 100), (64, 64)]
    """
    yield picture
    grey = np.asarray(picture.convert("L")).astype(np.int16)
    labels, _ = ndimage.label(abs(grey - grey[0, 0]) > PAPER_NOISE)
    for rows, columns in ndimage.find_objects(labels):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if min(height, width) >= SMALLEST_TILE:
            yield picture.crop((columns.start, rows.start, columns.stop, rows.stop))


def _read(path: Path) -> Tensor:
    try:
        with Image.open(path) as picture:
            picture.draft("L", (2 * EDGE, 2 * EDGE))  # a large JPEG is decoded small
            return _small(picture)
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"image '{path}' can't be read ({error}): remove or replace it") from error


def _small(picture: Image.Image) -> Tensor:
    """Return a picture as float32 (1, 64, 64) in [-1, 1], in grey."""
    grey = picture.convert("L").resize((EDGE, EDGE), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(grey).astype(np.float32))[None] / 127.5 - 1
