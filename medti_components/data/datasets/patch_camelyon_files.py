# SPDX-License-Identifier: Apache-2.0
"""The HDF5 files of Patch Camelyon: a file of patches and a file of labels for each split."""

import math
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from medti_components.data.datasets.tables import plain_text, table_rows
from medti_components.errors import DataError
from medti_components.files import write_atomically

PATCH_SIZE = 96  # pixels
CLASSES = ("normal", "tumor")  # labels 0 and 1
SPLIT_FILES = ("train", "valid", "test")
SUBFOLDER = "pcam"  # where torchvision keeps the files

MOST_CACHED = 1 << 30  # bytes

_EXPECTED = "Patch Camelyon's files"
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class PatchCamelyonFiles:
    """The two files of one split: ``x`` (N, 96, 96, 3) uint8 RGB, ``y`` (N, 1, 1, 1), 1 where tumour is in the centre.

    They are ``camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5`` (Veeling et al., MICCAI 2018,
    arXiv:1806.03962). Only what is asked for is read.

    >>> PatchCamelyonFiles.of("pcam", "train").y.name
    'camelyonpatch_level_2_split_train_y.h5'
    """

    x: Path
    y: Path

    @classmethod
    def of(cls, folder: str | Path, split: str) -> "PatchCamelyonFiles":
        """Return the files of 'train', 'valid' or 'test' in ``folder``, whether they exist or not."""
        stem = f"camelyonpatch_level_2_split_{split}"
        return cls(Path(folder) / f"{stem}_x.h5", Path(folder) / f"{stem}_y.h5")

    @classmethod
    def found(cls, dataset_dir: str | Path, split: str, key: str = "dataset_dir") -> "PatchCamelyonFiles":
        """Return the files in ``dataset_dir``, or in the folder ``pcam`` in it; ``key`` is for messages.

        Raises:
            DataError: there is no such folder, or it lacks a file, has it packed, or has it twice.
        """
        folder = Path(dataset_dir)
        if not folder.is_dir():
            raise DataError(f"{key} '{folder}' does not exist: set --{key} to a folder with {_EXPECTED}")
        inner = cls.of(folder / SUBFOLDER, split)
        files = cls.of(folder, split)
        if inner.x.is_file() and files.x.is_file():
            raise DataError(
                f"'{files.x}' and '{inner.x}' are both there: set --{key} to '{folder / SUBFOLDER}', or move that "
                "folder away"
            )
        files = inner if inner.x.is_file() else files
        for path in (files.x, files.y):
            packed = path.with_name(f"{path.name}.gz")
            if not path.is_file() and packed.is_file():
                raise DataError(f"'{packed}' must be unpacked, got a gzip archive: run gunzip '{packed}'")
            if not path.is_file():
                raise DataError(f"'{path}' does not exist: set --{key} to a folder with {_EXPECTED}")
        return files

    def labels(self) -> np.ndarray:
        """Read the labels, (N,) of 0 and 1, and check that there are as many patches.

        Raises:
            DataError: a file is unreadable, lacks its key, or has another shape or type, or the numbers differ.
        """
        with open_patches(self.x) as patches:
            num_patches = len(patches)
        with _opened(self.y, "y") as stored:
            if stored.ndim != 4 or stored.shape[1:] != (1, 1, 1):
                raise DataError(f"'{self.y}' must hold 'y' of shape (N, 1, 1, 1), got {stored.shape}: use {_EXPECTED}")
            labels = stored[:].reshape(-1)
        if len(labels) != num_patches:
            raise DataError(
                f"'{self.y}' must have a label for each of the {num_patches} patches of '{self.x.name}', got "
                f"{len(labels)}: download both again"
            )
        others = np.setdiff1d(labels, (0, 1))
        if len(others):
            raise DataError(f"'{self.y}' must hold labels 0 and 1, got {others[0]}: use {_EXPECTED}")
        return labels

    @property
    def meta(self) -> Path:
        """The table that names the slide of each patch, which need not be there."""
        return self.x.with_name(self.x.name.removesuffix("_x.h5") + "_meta.csv")

    def slides(self, num_patches: int) -> list[str] | None:
        """Return the slide of each patch, None where there is no table of them.

        Raises:
            DataError: the table does not name a slide for each patch, in their order.
        """
        if not self.meta.is_file():
            return None
        remedy = "download it again, or move it away"
        rows = table_rows(self.meta, ["wsi"], remedy)
        if len(rows) != num_patches:
            raise DataError(f"'{self.meta}' must have {num_patches} rows, one per patch, got {len(rows)}: {remedy}")
        for number, row in enumerate(rows):
            if plain_text(row.get("", str(number))) != str(number) or not row["wsi"].strip():
                raise DataError(f"{row.place} must name the slide (wsi) of patch {number}: {remedy}")
        return [row["wsi"].strip() for row in rows]

    def write(self, labels: Sequence[int], patches: Iterable[np.ndarray], **attributes: str) -> None:
        """Write both files, one patch in memory at a time.

        Args:
            labels: 0 or 1 of each patch.
            patches: as many, (96, 96, 3) uint8 each.
            attributes: of both files.

        Raises:
            OutputError: a file can't be written.
        """
        with write_atomically(self.x) as x_path, write_atomically(self.y) as y_path:
            with h5py.File(x_path, "w") as file:
                file.attrs.update(attributes)
                stored = file.create_dataset("x", (len(labels), PATCH_SIZE, PATCH_SIZE, 3), np.uint8)
                for row, patch in zip(range(len(labels)), patches, strict=True):
                    stored[row] = patch
            with h5py.File(y_path, "w") as file:
                file.attrs.update(attributes)
                file.create_dataset("y", data=np.array(labels, dtype=np.uint8).reshape(-1, 1, 1, 1))


@contextmanager
def open_patches(path: Path) -> Iterator[h5py.Dataset]:
    """Open a file of patches; ``patches[row]`` then reads one, (96, 96, 3) uint8.

    A compressed file is read in chunks, which may each hold a bit of two thousand patches. Those that one patch lies in
    are kept, so that rows in ascending order read each chunk once.

    Raises:
        DataError: the file is unreadable, lacks the key 'x', or has another shape or type.
    """
    with _opened(path, "x") as patches:
        if patches.shape[1:] != (PATCH_SIZE, PATCH_SIZE, 3) or patches.dtype != np.uint8:
            raise DataError(
                f"'{path}' must hold 'x' of shape (N, {PATCH_SIZE}, {PATCH_SIZE}, 3) and type uint8, got "
                f"{patches.shape} and {patches.dtype}: use {_EXPECTED}"
            )
        yield patches


@contextmanager
def _opened(path: Path, key: str) -> Iterator[h5py.Dataset]:
    try:
        with h5py.File(path, "r") as file:
            if file.get(key, getclass=True) is not h5py.Dataset:
                keys = ", ".join(f"'{name}'" for name in file) or "nothing"
                raise DataError(f"'{path}' must have the key '{key}', got {keys}: use {_EXPECTED}")
            access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
            access.set_chunk_cache(*_chunk_cache(file[key]), 0.75)
            yield h5py.Dataset(h5py.h5d.open(file.id, key.encode(), access))
    except (OSError, RuntimeError) as error:
        raise DataError(_reason(path, error)) from error


def _chunk_cache(stored: h5py.Dataset) -> tuple[int, int]:
    """Return slots and bytes of a cache that holds all chunks of one row, and not less than HDF5's own."""
    if stored.chunks is None:
        return 521, 1 << 20
    across = zip(stored.shape[1:], stored.chunks[1:], strict=True)
    num_chunks = math.prod(-(-length // chunk) for length, chunk in across)
    size = num_chunks * math.prod(stored.chunks) * stored.dtype.itemsize
    return max(521, 100 * num_chunks + 1), min(max(size, 1 << 20), MOST_CACHED)


def _reason(path: Path, error: Exception) -> str:
    with open(path, "rb") as file:
        if file.read(len(_GZIP)) == _GZIP:
            return f"'{path}' must be unpacked, got a gzip archive: rename it to '{path.name}.gz' and run gunzip"
    return f"'{path}' is unreadable or truncated ({' '.join(str(error).split())}): download it again"


class _OpenFile:
    """The file of patches that was read last, kept open; a copy, and another process, opens it anew."""

    __slots__ = ("_closing", "_identity", "_patches")  # no settings of the transform that has it

    def __init__(self) -> None:
        self._closing = ExitStack()
        self._identity: tuple[Any, ...] = ()
        self._patches: h5py.Dataset | None = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return _OpenFile, ()

    def read(self, path: Path, row: int) -> np.ndarray:
        """Read one patch, (96, 96, 3) uint8."""
        status = path.stat() if path.is_file() else None
        identity = (os.getpid(), path, status and status.st_size, status and status.st_mtime_ns)
        if self._patches is None or identity != self._identity:
            self._closing.close()
            self._patches = self._closing.enter_context(open_patches(path))
            self._identity = identity
        try:
            pixels: np.ndarray = self._patches[row]
        except (OSError, RuntimeError) as error:
            raise DataError(_reason(path, error)) from error
        return pixels


class LoadPatchd(MapTransform):
    """Replace the path of a file of patches by one of them, float32 (3, 96, 96), 0 to 255; the file is kept open.

    Args:
        keys: paths of ``..._x.h5`` files.
        row_key: entry with the patch's row.

    Raises:
        DataError: the file is missing, unreadable or of another layout.

    Example:
        >>> load = LoadPatchd(keys="image")
    """

    def __init__(self, keys: KeysCollection, row_key: str = "row") -> None:
        super().__init__(keys)
        self.row_key = row_key
        self._file = _OpenFile()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            pixels = self._file.read(Path(data[key]), int(data[self.row_key]))
            loaded[key] = torch.from_numpy(pixels).permute(2, 0, 1).to(torch.float32)
        return loaded
