# SPDX-License-Identifier: Apache-2.0
import h5py
import numpy as np
import pytest

from medti_components.data.datasets.patch_camelyon_files import SPLIT_FILES, PatchCamelyonFiles, open_patches
from medti_components.data.phantoms.histology_phantom import histology_phantom
from medti_components.data.phantoms.histology_phantom_patches import write_histology_patches
from medti_components.errors import ConfigError, OutputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patches")
    write_histology_patches(folder, num_normal=3, num_tumor=2, seed=0, show_progress=False)
    return folder


def test_each_of_the_three_pairs_holds_as_many_of_each_class_as_asked_for(folder):
    assert len([*folder.iterdir()]) == 6
    for split in SPLIT_FILES:
        assert sorted(PatchCamelyonFiles.of(folder, split).labels().tolist()) == [0, 0, 0, 1, 1]


def test_patches_are_the_phantoms_and_no_two_are_alike(folder):
    contents = set()
    for split in SPLIT_FILES:
        files = PatchCamelyonFiles.of(folder, split)
        labels = files.labels()
        with open_patches(files.x) as patches:
            contents |= {patches[row].tobytes() for row in range(5)}
            for label, kind in enumerate(("normal", "tumor")):
                rows = np.flatnonzero(labels == label)
                assert np.array_equal(patches[rows[1]], histology_phantom(0, split, kind, 1).image)
    assert len(contents) == 15


def test_the_same_seed_gives_the_same_bytes_over_the_old_ones(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_histology_patches(folder, 3, 2, seed=0, show_progress=False)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("content", [None, b"no HDF5"])
def test_patches_of_patients_are_not_touched(tmp_path, content):
    path = PatchCamelyonFiles.of(tmp_path, "test").y
    if content is None:
        with h5py.File(path, "w") as file:
            file["y"] = [1]
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="^'.*_test_y.h5' holds patches that are no phantoms: choose another"):
        write_histology_patches(tmp_path, 1, 1, seed=0, show_progress=False)
    assert [*tmp_path.iterdir()] == [path] and path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_normal": -1}, "num_normal must be a whole number from 0 to 100000, got -1: correct --num_normal"),
        ({"num_tumor": 1.5}, "num_tumor must be a whole number from 0 to 100000, got 1.5: correct --num_tumor"),
        ({"seed": True}, "seed must be a whole number from 0 to [0-9]+, got True: correct --seed"),
    ],
)
def test_numbers_that_do_not_fit(tmp_path, change, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        write_histology_patches(tmp_path, **{"num_normal": 1, "num_tumor": 1, "seed": 0, **change})
