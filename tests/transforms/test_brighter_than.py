# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from monai.data import MetaTensor

from medti_components.data.prepared_images import transform_fingerprint
from medti_components.errors import DataError
from medti_components.transforms.brighter_than import BrighterThan


def test_threshold_itself_is_not_selected():
    assert BrighterThan(8)(torch.tensor([7.0, 8.0, 9.0])).tolist() == [False, False, True]


def test_nothing_selected_is_an_error_that_names_the_file():
    with pytest.raises(DataError, match="^'x.jpg' is black, nothing in it is brighter than 8: download it again, or"):
        BrighterThan(8)(MetaTensor(torch.zeros(1, 4, 4), meta={"filename_or_obj": "x.jpg"}))
    with pytest.raises(DataError, match="^'an image' is black"):
        BrighterThan(8)(torch.zeros(1, 4, 4))


def test_threshold_is_a_setting_of_the_transform():
    assert transform_fingerprint(BrighterThan(8)) != transform_fingerprint(BrighterThan(9))
