# SPDX-License-Identifier: Apache-2.0
"""Phantom patches on disk, in the HDF5 files of Patch Camelyon."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from medti_components.data.datasets.patch_camelyon_files import CLASSES, SPLIT_FILES, PatchCamelyonFiles
from medti_components.data.phantoms.histology_phantom import histology_phantom
from medti_components.errors import ConfigError, OutputError
from medti_components.files import ensure_writable_directory
from medti_components.random_streams import stream_seed

MAX_PATCHES = 100_000  # of a class and file
SOURCE = "phantom"


def write_histology_patches(
    output_dir: str | Path, num_normal: int, num_tumor: int, seed: int, show_progress: bool = True
) -> list[Path]:
    """Write phantom patches as Patch Camelyon has them, and return the paths of the files.

    ``camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5``, the three of differing slides, the classes mixed within
    each. A patch depends on ``seed``, its file, its class and its number among those of its class alone. Phantoms that
    are there already are replaced.

    Args:
        output_dir: folder to write to; ``dataset_dir`` for :func:`patch_camelyon_datalist`.
        num_normal: patches without tumour in each of the three.
        num_tumor: patches with tumour in each of the three.
        seed: another one gives other slides.
        show_progress: whether a bar with the time left goes to stderr.

    Raises:
        ConfigError: a number is negative, or more than a hundred thousand patches of a class are asked for.
        OutputError: the folder is not writable, or holds patches that are no phantoms.
    """
    for key, value in (("num_normal", num_normal), ("num_tumor", num_tumor), ("seed", seed)):
        limit = 2**63 if key == "seed" else MAX_PATCHES
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
            raise ConfigError(f"{key} must be a whole number from 0 to {limit}, got {value!r}: correct --{key}")
    folder = ensure_writable_directory(output_dir)
    pairs = {split: PatchCamelyonFiles.of(folder, split) for split in SPLIT_FILES}
    paths = [path for files in pairs.values() for path in (files.x, files.y)]
    for path in paths:
        _check_replaceable(path)
    with tqdm(
        total=len(pairs) * (num_normal + num_tumor), desc="phantom patches", unit="patch", disable=not show_progress
    ) as bar:
        for split, files in pairs.items():
            order = np.random.default_rng(stream_seed(seed, "histology phantom order", split))
            labels = order.permutation([0] * num_normal + [1] * num_tumor).astype(int).tolist()
            files.write(labels, _drawn(seed, split, labels, bar), source=SOURCE)
    return paths


def _drawn(seed: int, split: str, labels: Sequence[int], bar: tqdm) -> Iterator[np.ndarray]:
    numbers = [0] * len(CLASSES)
    for label in labels:
        yield histology_phantom(seed, split, CLASSES[label], numbers[label]).image
        numbers[label] += 1
        bar.update()


def _check_replaceable(path: Path) -> None:
    if not path.is_file():
        return
    try:
        with h5py.File(path, "r") as file:
            is_phantom = file.attrs.get("source") == SOURCE
    except OSError:
        is_phantom = False
    if not is_phantom:
        raise OutputError(f"'{path}' holds patches that are no phantoms: choose another --output_dir")
