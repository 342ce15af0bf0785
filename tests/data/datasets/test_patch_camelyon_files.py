# SPDX-License-Identifier: Apache-2.0
import gzip
import re
import shutil

import h5py
import numpy as np
import pytest

from medti_components.data.datasets.patch_camelyon_files import PATCH_SIZE, PatchCamelyonFiles, open_patches
from medti_components.errors import DataError, OutputError


def grey_patches(*values):
    return [np.full((PATCH_SIZE, PATCH_SIZE, 3), value, dtype=np.uint8) for value in values]


@pytest.fixture
def files(tmp_path):
    """The train files of three patches, labelled 0, 1, 1."""
    files = PatchCamelyonFiles.of(tmp_path, "train")
    files.write([0, 1, 1], grey_patches(10, 20, 30), source="test")
    return files


def replace(path, **datasets):
    with h5py.File(path, "w") as file:
        for key, values in datasets.items():
            file[key] = values


def test_files_have_the_names_keys_shapes_and_types_of_patch_camelyon(files):
    assert files.x.name == "camelyonpatch_level_2_split_train_x.h5"
    with h5py.File(files.x) as x, h5py.File(files.y) as y:
        assert ([*x], x["x"].shape, x["x"].dtype) == (["x"], (3, 96, 96, 3), np.uint8)
        assert ([*y], y["y"].shape, y["y"].dtype) == (["y"], (3, 1, 1, 1), np.uint8)
        assert x.attrs["source"] == y.attrs["source"] == "test"
    assert files.labels().tolist() == [0, 1, 1]
    with open_patches(files.x) as patches:
        assert [int(patches[row].mean()) for row in range(3)] == [10, 20, 30]


def test_a_write_that_fails_leaves_the_files_as_they_were(files):
    before = files.x.read_bytes(), files.y.read_bytes()
    with pytest.raises(ValueError, match="shorter"):
        files.write([0, 0], grey_patches(1))
    assert (files.x.read_bytes(), files.y.read_bytes()) == before
    assert len([*files.x.parent.iterdir()]) == 2


def test_folder_that_can_t_be_written(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match=r"^'.*taken/camelyonpatch_level_2_split_test_x.h5' can't be written"):
        PatchCamelyonFiles.of(tmp_path / "taken", "test").write([], [])


def test_files_in_both_places_are_an_error(files, tmp_path):
    PatchCamelyonFiles.of(tmp_path / "pcam", "train").write([0], grey_patches(10))
    inner = tmp_path / "pcam"
    expected = f"'{files.x}' and '{inner / files.x.name}' are both there: set --dataset_dir to '{inner}', or move that"
    with pytest.raises(DataError, match=f"^{re.escape(expected)} folder away$"):
        PatchCamelyonFiles.found(tmp_path, "train")


def test_files_are_found_in_the_folder_or_in_pcam_in_it(files, tmp_path):
    assert PatchCamelyonFiles.found(tmp_path, "train") == files
    (tmp_path / "pcam").mkdir()
    for path in (files.x, files.y):
        path.rename(tmp_path / "pcam" / path.name)
    assert PatchCamelyonFiles.found(tmp_path, "train") == PatchCamelyonFiles.of(tmp_path / "pcam", "train")


def test_missing_and_packed_files_are_named(files, tmp_path):
    with pytest.raises(DataError, match="^dataset_dir '.*absent' does not exist: set --dataset_dir to a folder with"):
        PatchCamelyonFiles.found(tmp_path / "absent", "train")
    with pytest.raises(DataError, match="^'.*_split_test_x.h5' does not exist: set --dataset_dir to a folder with"):
        PatchCamelyonFiles.found(tmp_path, "test")
    packed = files.y.with_name(f"{files.y.name}.gz")
    with open(files.y, "rb") as plain, gzip.open(packed, "wb") as archive:
        shutil.copyfileobj(plain, archive)
    files.y.unlink()
    with pytest.raises(DataError, match=r"^'.*train_y.h5.gz' must be unpacked, got a gzip archive: run gunzip '.*gz'$"):
        PatchCamelyonFiles.found(tmp_path, "train")
    packed.rename(files.y)
    with pytest.raises(DataError, match=r"^'.*train_y.h5' must be unpacked, got a gzip archive: rename it to '"):
        PatchCamelyonFiles.found(tmp_path, "train").labels()


@pytest.mark.parametrize(
    ("damaged", "datasets", "message"),
    [
        ("x", {"images": np.zeros(3)}, "'{x}' must have the key 'x', got 'images': use Patch Camelyon's files"),
        ("y", {}, "'{y}' must have the key 'y', got nothing: use Patch Camelyon's files"),
        (
            "x",
            {"x": np.zeros((3, 64, 64, 3), np.uint8)},
            "'{x}' must hold 'x' of shape (N, 96, 96, 3) and type uint8, got (3, 64, 64, 3) and uint8: use Patch",
        ),
        (
            "x",
            {"x": np.zeros((3, 96, 96, 3), np.float32)},
            "'{x}' must hold 'x' of shape (N, 96, 96, 3) and type uint8, got (3, 96, 96, 3) and float32: use Patch",
        ),
        ("y", {"y": [0, 1, 1]}, "'{y}' must hold 'y' of shape (N, 1, 1, 1), got (3,): use Patch Camelyon's files"),
        (
            "y",
            {"y": np.zeros((2, 1, 1, 1))},
            "'{y}' must have a label for each of the 3 patches of 'camelyonpatch_level_2_split_train_x.h5', got 2",
        ),
        ("y", {"y": np.full((3, 1, 1, 1), 5)}, "'{y}' must hold labels 0 and 1, got 5: use Patch Camelyon's files"),
    ],
)
def test_files_of_another_layout(files, damaged, datasets, message):
    replace(getattr(files, damaged), **datasets)
    with pytest.raises(DataError, match="^" + re.escape(message.format(x=files.x, y=files.y))):
        files.labels()


@pytest.mark.parametrize("part", ["x", "y"])
def test_truncated_file(files, part):
    path = getattr(files, part)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = rf"^'{re.escape(str(path))}' is unreadable or truncated \(.*\): download it again$"
    with pytest.raises(DataError, match=message):
        files.labels()
