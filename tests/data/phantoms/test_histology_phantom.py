# SPDX-License-Identifier: Apache-2.0
import h5py
import numpy as np
import pytest
from scipy import ndimage

from medti_components.data.datasets.patch_camelyon_files import SPLIT_FILES, PatchCamelyonFiles, open_patches
from medti_components.data.phantoms.histology_phantom import (
    PATCHES_OF_A_SLIDE,
    histology_phantom,
    write_histology_patches,
)
from medti_components.errors import ConfigError, OutputError

NUMBER = 8


@pytest.fixture(scope="module")
def phantoms():
    """A patch of each of eight slides, by class."""
    indices = range(0, NUMBER * PATCHES_OF_A_SLIDE, PATCHES_OF_A_SLIDE)
    return {kind: [histology_phantom(0, "train", kind, index) for index in indices] for kind in ("normal", "tumor")}


def nuclear_areas(phantom):
    labelled, number = ndimage.label(phantom.nuclei)
    return ndimage.sum_labels(phantom.nuclei, labelled, range(1, number + 1))


def test_a_patch_depends_on_its_arguments_alone():
    first = histology_phantom(3, "valid", "tumor", 5)
    assert np.array_equal(first.image, histology_phantom(3, "valid", "tumor", 5).image)
    for other in ((4, "valid", "tumor", 5), (3, "test", "tumor", 5), (3, "valid", "tumor", 6)):
        assert not np.array_equal(first.image, histology_phantom(*other).image)
    assert (first.image.shape, first.image.dtype) == ((96, 96, 3), np.uint8)
    assert first.nuclei.shape == first.tumor.shape == (96, 96)


def test_tumour_is_in_the_centre_where_the_label_says_so(phantoms):
    assert all(phantom.tumor[32:64, 32:64].any() for phantom in phantoms["tumor"])
    assert not any(phantom.tumor.any() for phantom in phantoms["normal"])
    assert any(not phantom.tumor.all() for phantom in phantoms["tumor"])


def test_tumour_s_nuclei_are_larger_and_more_crowded(phantoms):
    normal, tumor = (np.concatenate([nuclear_areas(each) for each in phantoms[kind]]) for kind in ("normal", "tumor"))
    assert np.mean(tumor) > 2 * np.mean(normal)
    assert np.std(tumor) > 2 * np.std(normal)
    for phantom in phantoms["tumor"]:
        assert phantom.nuclei[phantom.tumor].mean() > 0.2
    assert np.mean([phantom.nuclei.mean() for phantom in phantoms["normal"]]) < 0.15


def test_nuclei_are_purple_stroma_pink_and_gaps_white(phantoms):
    for phantom in phantoms["normal"]:
        red, green, blue = (phantom.image[..., channel].astype(float) for channel in range(3))
        nucleus = ndimage.binary_erosion(phantom.nuclei)
        stroma = ~ndimage.binary_dilation(phantom.nuclei, iterations=2) & (green < red - 25)
        assert blue[nucleus].mean() > red[nucleus].mean() > green[nucleus].mean() - 25
        assert red[nucleus].mean() < red[stroma].mean() - 50
        assert red[stroma].mean() > green[stroma].mean() + 30
    whites = [float((phantom.image.min(axis=-1) > 215).mean()) for phantom in phantoms["normal"]]
    assert max(whites) > 0.1 and min(whites) < 0.1


def test_patches_of_a_slide_share_its_stain():
    def lamp_and_stain(index, kind):
        image = histology_phantom(0, "train", kind, index).image.reshape(-1, 3)
        dark = image[image.sum(axis=1) < np.quantile(image.sum(axis=1), 0.1)]
        return dark.mean(axis=0) / dark.mean()

    of_slides = [[lamp_and_stain(8 * slide + patch, "tumor") for patch in range(3)] for slide in range(4)]
    within = np.mean([np.std(slide, axis=0).mean() for slide in of_slides])
    between = np.std([np.mean(slide, axis=0) for slide in of_slides], axis=0).mean()
    assert between > within


def test_classes_are_told_apart_at_sixteen_pixels(phantoms):
    # what a quarter of the embedded base's 64 pixels still shows: how much of the centre is dark
    def darkness(phantom):
        small = phantom.image.astype(float).mean(axis=-1).reshape(16, 6, 16, 6).mean(axis=(1, 3))
        return 255 - small[5:11, 5:11].mean()

    normal, tumor = (np.array([darkness(phantom) for phantom in phantoms[kind]]) for kind in ("normal", "tumor"))
    assert (tumor[:, None] > normal[None]).mean() > 0.9  # the area under the ROC curve


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patches")
    write_histology_patches(folder, num_normal=3, num_tumor=2, seed=0, show_progress=False)
    return folder


def test_each_of_the_three_pairs_holds_as_many_of_each_class_as_asked_for(folder):
    assert len([*folder.glob("*.h5")]) == 6
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
