# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from monai.data import MetaTensor

from medti_components.errors import DataError
from medti_components.transforms.lesion_slice import LesionSliced, median_slice, slice_of_largest_area


def test_largest_area_counts_voxels_not_grades():
    mask = torch.zeros(5, 4, 4)
    mask[1, 0, :3] = 5  # 3 voxels, sum 15
    mask[3, :2, :2] = 2  # 4 voxels, sum 8
    assert slice_of_largest_area(mask) == 3


def test_largest_area_of_equals_is_the_lowest():
    mask = torch.zeros(4, 4, 4)
    mask[1, 0, 0] = mask[2, 3, 3] = 1
    assert slice_of_largest_area(mask) == 1


@pytest.mark.parametrize(
    ("held", "expected"),
    [([3], 3), ([2, 3, 4], 3), ([2, 3, 4, 5], 3), ([0, 6], 0), ([1, 2, 6], 2)],
)
def test_median_slice_is_the_middle_of_the_slices_that_hold_the_gland(held, expected):
    mask = torch.zeros(8, 4, 4)
    for index in held:
        mask[index, : index % 4 + 1] = 1  # areas differ and do not matter
    assert median_slice(mask) == expected


def make_study(label: int) -> dict:
    volume = torch.arange(6.0).reshape(1, 6, 1, 1).expand(1, 6, 4, 4).clone()
    mask = torch.zeros(1, 6, 4, 4)
    mask[0, 1:4, 0, 0] = 3  # slices 1, 2, 3: the middle is 2
    mask[0, 3, :2, :2] = 3  # slice 3 holds most
    return {"t2w": volume, "mask": mask, "label": label, "study_id": "1000000"}


def test_positive_takes_the_largest_area_and_negative_the_median():
    sliced = LesionSliced(keys="t2w")
    assert float(sliced(make_study(1))["t2w"].unique()) == 3
    assert float(sliced(make_study(0))["t2w"].unique()) == 2


def test_slice_keeps_its_place_in_space():
    study = make_study(1)
    affine = torch.diag(torch.tensor([3.0, 0.5, 0.5, 1.0], dtype=torch.float64))
    study["t2w"] = MetaTensor(study["t2w"], affine=affine)
    sliced = LesionSliced(keys="t2w")(study)["t2w"]
    assert tuple(sliced.shape) == (1, 1, 4, 4)
    assert sliced.affine[:3, 3].tolist() == [9.0, 0.0, 0.0]  # slice 3 of 3 mm


@pytest.mark.parametrize(("label", "kind"), [(0, "gland"), (1, "lesion")])
def test_empty_mask_is_an_error_that_names_the_study(label, kind):
    study = {**make_study(label), "mask": torch.zeros(1, 6, 4, 4)}
    with pytest.raises(DataError, match=f"^study '1000000' has no {kind} within the crop: .*--skip_unreadable true$"):
        LesionSliced(keys="t2w")(study)
