# SPDX-License-Identifier: Apache-2.0
"""The HDF5 files of Patch Camelyon: a file of patches and a file of labels for each split."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from medti_components.errors import DataError
from medti_components.files import write_atomically

PATCH_SIZE = 96  # pixels
CLASSES = ("normal", "tumor")  # labels 0 and 1
SPLIT_FILES = ("train", "valid", "test")
SUBFOLDER = "pcam"  # where torchvision keeps the files

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
            stored = file.get(key)
            if not isinstance(stored, h5py.Dataset):
                keys = ", ".join(f"'{name}'" for name in file) or "nothing"
                raise DataError(f"'{path}' must have the key '{key}', got {keys}: use {_EXPECTED}")
            yield stored
    except (OSError, RuntimeError) as error:
        raise DataError(_reason(path, error)) from error


def _reason(path: Path, error: Exception) -> str:
    with open(path, "rb") as file:
        if file.read(len(_GZIP)) == _GZIP:
            return f"'{path}' must be unpacked, got a gzip archive: rename it to '{path.name}.gz' and run gunzip"
    return f"'{path}' is unreadable or truncated ({' '.join(str(error).split())}): download it again"


class LoadPatchd(MapTransform):
    """Replace the path of a file of patches by one of them, float32 (3, 96, 96), 0 to 255; no other is read.

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

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            with open_patches(Path(data[key])) as patches:
                pixels = patches[int(data[self.row_key])]
            loaded[key] = torch.from_numpy(pixels).permute(2, 0, 1).to(torch.float32)
        return loaded
