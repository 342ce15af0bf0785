# SPDX-License-Identifier: Apache-2.0
"""What a data set's folder tells of its patients: names, tables, images."""

import csv
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from medti_components.apps.bundle_package.known_pictures import KnownPictures
from medti_components.errors import DataError

PICTURES = (".png", ".jpg", ".jpeg")
IDENTIFIER = re.compile(r"(?=(?:.*\d){5})[\w-]{5,}", re.ASCII)  # five digits at least: '2015' may be a word
WORDS = re.compile(r"[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*")
COLUMN = re.compile(r"(?i)(?:patient|study|subject)[ _]?(?:id|name)?")


class KnownPatients:
    """Names and images of a data set, to be found again in what is shared.

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
    def num_files(self) -> int:
        """How many files of the data set can be compared byte by byte."""
        return sum(len(paths) for paths in self._sizes.values())

    @property
    def num_pictures(self) -> int:
        """How many pictures of the data set can be compared as such."""
        return len(self.pictures)

    def trace(self, text: str, numbers: bool = True) -> str | None:
        """Return the first name of the data set in ``text``; plain numbers count where ``numbers`` is true."""
        for place in self.places:
            if place in text:
                return place
        words = [word for word in WORDS.findall(text) if word in self.identifiers]
        return next((word for word in words if numbers or not word.isdigit()), None)

    def same_file(self, content: bytes) -> str | None:
        """Return the file of the data set that has this content, by SHA-256; None where there is none."""
        digest = hashlib.sha256(content).digest()
        for path in self._sizes.get(len(content), ()) if content else ():
            if hashlib.sha256(path.read_bytes()).digest() == digest:
                return self._short(path)
        return None

    def same_pixels(self, picture: Image.Image) -> str | None:
        """Return the picture of the data set with these pixels, as RGB; None where there is none."""
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
