# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy import ndimage

from medti_components.data.phantoms.histology_phantom import PATCHES_OF_A_SLIDE, histology_phantom

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
