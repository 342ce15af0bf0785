# SPDX-License-Identifier: Apache-2.0
import copy

import h5py
import numpy as np
import pytest
import torch

from medti_components.data.datasets.patch_camelyon_files import LoadPatchd, PatchCamelyonFiles, open_patches
from medti_components.data.prepared_images import PreparedImages
from medti_components.errors import DataError

FILE = h5py.File


@pytest.fixture
def files(tmp_path):
    files = PatchCamelyonFiles.of(tmp_path, "train")
    ramp = np.arange(96, dtype=np.uint8)[:, None, None] + np.array([0, 50, 100], dtype=np.uint8)
    files.write([0, 1], [np.zeros((96, 96, 3), np.uint8), np.broadcast_to(ramp, (96, 96, 3))])
    return files


def test_rows_stay_rows_and_colours_become_channels(files):
    image = LoadPatchd(keys="image")({"image": str(files.x), "row": 1, "label": 1})["image"]
    assert (image.dtype, tuple(image.shape)) == (torch.float32, (3, 96, 96))
    assert image[:, 7, 3].tolist() == [7, 57, 107]
    assert image[0, :, 0].tolist() == list(range(96))


def test_prepared_patches_are_told_apart_by_their_rows(files, tmp_path):
    entries = [{"image": str(files.x), "row": row, "concept": "<a>", "label": row} for row in (0, 1)]
    for _ in range(2):
        images = PreparedImages(entries, LoadPatchd(keys="image"), tmp_path / "cache", show_progress=False)
        assert [float(item["image"].max()) for item in images] == [0, 195]
    assert images.num_prepared == 0


def test_file_that_is_not_whole_is_named(files):
    files.x.write_bytes(files.x.read_bytes()[:500])
    with pytest.raises(DataError, match="^'.*_train_x.h5' is unreadable or truncated "):
        LoadPatchd(keys="image")({"image": str(files.x), "row": 0})


def test_one_file_is_opened_once_for_all_its_rows_and_anew_where_it_changed(files, monkeypatch):
    opened = []
    monkeypatch.setattr(h5py, "File", lambda *args: opened.append(args) or FILE(*args))
    load = LoadPatchd(keys="image")
    for row in (0, 1, 0, 1):
        load({"image": str(files.x), "row": row})
    assert len(opened) == 1
    assert copy.deepcopy(load)({"image": str(files.x), "row": 1})["image"].max() == 195
    files.write([0], [np.full((96, 96, 3), 7, np.uint8)])
    assert load({"image": str(files.x), "row": 0})["image"].unique().tolist() == [7]


def test_rows_of_a_file_are_prepared_in_ascending_order_and_come_in_that_of_the_datalist(files):
    files.write([0] * 4, [np.full((96, 96, 3), value, np.uint8) for value in range(4)])
    read = []
    entries = [{"image": str(files.x), "row": row, "concept": "<a>", "label": 0} for row in (2, 0, 3, 1)]
    load = LoadPatchd(keys="image")
    prepared = PreparedImages(entries, lambda entry: (read.append(entry["row"]), load(entry))[1], None, False, False)
    assert read == [0, 1, 2, 3]
    assert [float(item["image"].max()) for item in prepared] == [2, 0, 3, 1]


@pytest.mark.parametrize("chunks", [True, (16, 96, 96, 3), (5, 7, 40, 2), None])
def test_all_chunks_of_a_patch_fit_into_the_cache(tmp_path, chunks):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", (300, 96, 96, 3), np.uint8, chunks=chunks)
    with open_patches(tmp_path / "x.h5") as patches:
        _, size, _ = patches.id.get_access_plist().get_chunk_cache()
        assert size >= (
            sum(1 for _ in patches.iter_chunks(np.s_[7:8, 0:96, 0:96, 0:3])) * np.prod(patches.chunks) if chunks else 0
        )
