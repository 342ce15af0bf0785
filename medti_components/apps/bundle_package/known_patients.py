# SPDX-License-Identifier: Apache-2.0
"""Names and images of a data set, to be recognised in what is shared."""

import csv
import hashlib
import re
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

PICTURES = (".png", ".jpg", ".jpeg")
IDENTIFIER = re.compile(r"(?=(?:.*\d){5})[\w-]{5,}", re.ASCII)  # five digits at least: '2015' may be a word
WORDS = re.compile(r"[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*")
COLUMN = re.compile(r"(?i)(?:patient|study|subject)[ _]?(?:id|name)?")


class KnownPatients:
    """Names and images of a data set, to be recognised in what is shared.

    An identifier has five digits or more, and is the name of a file or folder, a part of one between underscores, or an
    entry of a table's column on patients or studies. Images are compared as files, and pictures (PNG, JPEG) pixel by
    pixel and as :class:`KnownPictures` does: a slice of a volume is not found.

    Args:
        dataset_dir: the data set's folder.
        show_progress: show a bar on stderr while images are compared.

    Raises:
        DataError: the folder does not exist, or a table in it can't be read.
    """

    def __init__(self, dataset_dir: str | Path, show_progress: bool = False) -> None:
        self.folder = Path(dataset_dir)
        if not self.folder.is_dir():
            raise DataError(f"dataset_dir '{dataset_dir}' is no folder: give that of the training images")
        self.show_progress = show_progress
        self.paths = sorted(path for path in self.folder.rglob("*"))
        self.identifiers = self._names() | self._tabulated()
        self.places = {str(self.folder.absolute()), str(self.folder.resolve())}
        self.pictures = [path for path in self.paths if path.suffix.lower() in PICTURES and path.is_file()]
        self._sizes: dict[int, list[Path]] = {}
        for path in self.paths:
            if path.is_file():
                self._sizes.setdefault(path.stat().st_size, []).append(path)
        self._shapes: dict[tuple[int, int], list[Path]] | None = None

    @property
    def summary(self) -> str:
        """What can be found again: numbers of names, files and pictures of the data set."""
        num_files = sum(len(paths) for paths in self._sizes.values())
        return f"{len(self.identifiers)} names, {num_files} files and {len(self.pictures)} pictures of '{self.folder}'"

    def trace(self, text: str, numbers: bool = True) -> str | None:
        """Return the first name of the data set in ``text``; plain numbers count where ``numbers`` is true."""
        for place in self.places:
            if place in text:
                return place
        words = [word for word in WORDS.findall(text) if word in self.identifiers]
        return next((word for word in words if numbers or not word.isdigit()), None)

    def same_file(self, content: bytes) -> str | None:
        """Return the file of the data set that has this content, by SHA-256, or None."""
        digest = hashlib.sha256(content).digest()
        for path in self._sizes.get(len(content), ()) if content else ():
            if hashlib.sha256(path.read_bytes()).digest() == digest:
                return self._short(path)
        return None

    def same_pixels(self, picture: Image.Image) -> str | None:
        """Return the picture of the data set with these pixels as RGB, or None."""
        pixels = picture.convert("RGB").tobytes()
        for path in self._of_size(picture.size):
            with Image.open(path) as other:
                if other.convert("RGB").tobytes() == pixels:
                    return self._short(path)
        return None

    def shown(self, pictures: Sequence[Image.Image]) -> list[str | None]:
        """Return which picture of the data set each of ``pictures`` shows, whole or on a sheet."""
        search = KnownPictures(self.pictures, self.show_progress)
        return [None if path is None else self._short(path) for path in search.among(pictures)]

    def _of_size(self, size: tuple[int, int]) -> list[Path]:
        if self._shapes is None:
            self._shapes = {}
            for path in tqdm(self.pictures, desc="sizes of images", delay=2, disable=not self.show_progress):
                try:
                    with Image.open(path) as picture:
                        self._shapes.setdefault(picture.size, []).append(path)
                except (UnidentifiedImageError, OSError) as error:
                    raise DataError(f"image '{path}' can't be read ({error}): remove or replace it") from error
        return self._shapes.get(size, [])

    def _names(self) -> set[str]:
        stems = {path.name.split(".")[0] for path in self.paths}
        parts = {part for stem in stems for part in [stem, *stem.split("_")]}
        return {part for part in parts if IDENTIFIER.fullmatch(part)}

    def _tabulated(self) -> set[str]:
        found: set[str] = set()
        for path in self.paths:
            if path.suffix.lower() != ".csv" or not path.is_file():
                continue
            try:
                with open(path, newline="", encoding="utf-8-sig") as file:
                    for row in csv.DictReader(file):
                        found |= {str(row[name]) for name in row if name and COLUMN.fullmatch(name) and row[name]}
            except (OSError, ValueError, csv.Error) as error:
                raise DataError(f"table '{path}' can't be read ({error}): correct or remove it") from error
        return {name for name in found if IDENTIFIER.fullmatch(name)}

    def _short(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


EDGE = 64  # pixels along which pictures are compared
SMALLEST_TILE = 32
PAPER_NOISE = 48  # of 255, as JPEG leaves it around a tile
SAME = 0.75  # correlation of details: copies of many kinds have more, those of different patients less
NUM_LIKELY = 3
NUM_AT_ONCE = 1024


class KnownPictures:
    """Finds pictures of a data set among others.

    Candidates are the pictures that :class:`AlignedCorrelation` ranks first. A candidate is the picture where their
    details agree, see :func:`detail_correlation`. The threshold is fixed: the very picture is looked for, not one that
    resembles it as in :class:`CopyDetection`.

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
        """Return which picture of the data set each of ``pictures`` shows, whole or in part; None where it shows none.

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
    """Yield a picture, and each separate picture on it, as on a contact sheet.

    The paper has the colour of the top left corner. Anything smaller than 32 pixels is lettering.

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
