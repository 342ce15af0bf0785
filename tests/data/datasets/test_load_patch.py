# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from medti_components.data.datasets.patch_camelyon_files import LoadPatchd, PatchCamelyonFiles
from medti_components.data.prepared_images import PreparedImages
from medti_components.errors import DataError


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
