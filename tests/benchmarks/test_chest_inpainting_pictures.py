# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from chest_inpainting_pictures import difference, ellipse_about, main, prepared

from medti_components.data.phantoms.chest_phantom import chest_phantom
from medti_components.data.phantoms.chest_phantom_studies import DISEASES
from medti_components.data.requests.inpainting_mask import shape_mask


def test_ellipse_holds_the_larger_side_alone():
    mask = np.zeros((40, 40), dtype=bool)
    mask[10:20, 2:6] = True
    mask[8:24, 24:34] = True
    painted = shape_mask(ellipse_about(mask, one_side=True), (40, 40)).numpy()
    assert painted[16, 29] and not painted[:, :20].any()
    both = shape_mask(ellipse_about(mask, one_side=False), (40, 40)).numpy()
    assert both[16, 20]


def test_a_small_place_is_still_painted_at_the_size_of_a_few_pixels():
    mask = np.zeros((40, 40), dtype=bool)
    mask[20, 30] = True
    assert ellipse_about(mask, one_side=True) == "ellipse(30.5,20.5,5.6,5.6)"


@pytest.mark.parametrize("finding", DISEASES)
def test_most_of_what_differs_lies_in_the_ellipse(finding):
    healthy, ill = (chest_phantom(0, "painted", 3, findings) for findings in ([], [finding]))
    image, place = prepared(healthy.image, difference(healthy, ill, finding), 64)
    changed, _ = prepared(ill.image, ill.lungs, 64)
    assert image.shape == place.shape == (64, 64) and image.dtype == np.uint8
    painted = shape_mask(ellipse_about(place, finding != "cardiomegaly"), (64, 64)).numpy()
    half = np.zeros((64, 64), dtype=bool)
    columns = np.nonzero(painted.any(axis=0))[0]
    half[:, columns.min() : columns.max() + 1] = True
    difference_of_pixels = np.abs(changed.astype(int) - image.astype(int)) * half
    assert difference_of_pixels[painted].mean() > 4 * difference_of_pixels[~painted].mean()


def test_a_picture_and_a_mask_for_each_finding_are_written(tmp_path):
    assert main(["--output_dir", str(tmp_path), "--num_pictures", "1", "--size", "32"]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"0.png", *(f"0_{finding}.png" for finding in DISEASES)}
    for name in names:
        with Image.open(tmp_path / name) as picture:
            assert picture.size == (32, 32) and picture.mode == "L"
