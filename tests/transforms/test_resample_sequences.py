# SPDX-License-Identifier: Apache-2.0
import logging
import re

import numpy as np
import pytest
import SimpleITK
import torch
from monai.transforms import Compose, LoadImaged, Orientationd, ScaleIntensityd, SpatialCropd

from medti_components.data.datasets.file_readers import SimpleITKReader
from medti_components.data.prepared_images import PreparedImages
from medti_components.errors import DataError
from medti_components.transforms.resample_sequences import ResampleSequencesd
from medti_components.transforms.stack_sequences import StackSequencesd

KEYS = ["t2w", "adc", "hbv"]
EDGE = 20  # voxels of 1 mm, 4 slices of 3 mm


def preparing(sequences):
    """Return the steps of the prostate bundle that matter here, with slice 1 chosen."""
    return Compose(
        [
            LoadImaged(KEYS, reader=SimpleITKReader(), ensure_channel_first=True),
            Orientationd(KEYS, axcodes="SPL", labels=None),
            ScaleIntensityd(KEYS, minv=0.0, maxv=1.0),
            SpatialCropd("t2w", roi_start=(1, 0, 0), roi_end=(2, EDGE, EDGE)),
            ResampleSequencesd(KEYS[1:], "t2w", sequences=sequences),
            StackSequencesd(sequences),
        ]
    )


@pytest.fixture
def study(tmp_path):
    """Entry of a study whose ADC and HBV are random, on T2W's grid."""
    entry = {"concept": "<a>", "label": 0, "patient_id": "10000", "study_id": "1000000"}
    for number, key in enumerate(KEYS):
        array = np.random.default_rng(number).integers(1, 1000, (4, EDGE, EDGE)).astype(np.uint16)
        entry[key] = str(tmp_path / f"{key}.mha")
        write(entry[key], array)
    return entry


def write(path, array, origin=(0.0, 0.0, 0.0)):
    volume = SimpleITK.GetImageFromArray(array)
    volume.SetSpacing((1.0, 1.0, 3.0))
    volume.SetOrigin(origin)
    SimpleITK.WriteImage(volume, path)


def change(path, origin=(0.0, 0.0, 0.0), voxels=None):
    array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))
    write(path, array if voxels is None else voxels(array), origin)


def zero(array):
    return np.zeros_like(array)


def blank_slice(array):
    array[1] = 7
    return array


def prepared(study, sequences=KEYS, **kwargs):
    return PreparedImages([study], preparing(sequences), None, show_progress=False, **kwargs)


def test_a_whole_study_is_resampled_by_physical_coordinates(study):
    change(study["adc"], (1.0, 0.0, 0.0))
    image = prepared(study)[0]["image"]
    adc = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(study["adc"])).astype(float)
    # LPS: columns run to the left, so that a volume that begins 1 mm later shows its first column in T2W's second
    expected = (adc[1, :, :-1] - adc.min()) / (adc.max() - adc.min())
    torch.testing.assert_close(image[1, :, 1:], torch.from_numpy(expected).float(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("sequence", "settings", "reason"),
    [
        (
            "adc",
            {"origin": (400.0, 0.0, 0.0)},
            "ADC covers 0 % of the slice that is shown, must cover 75 %: correct its",
        ),
        (
            "hbv",
            {"origin": (0.0, 6.0, 0.0)},
            "HBV covers 70 % of the slice that is shown, must cover 75 %: correct its",
        ),
        ("adc", {"origin": (0.0, 0.0, 6.0)}, "ADC covers 0 % of the slice that is shown"),
        ("adc", {"voxels": zero}, "ADC has one value alone in the slice that is shown: correct the volume, or leave"),
        ("hbv", {"voxels": blank_slice}, "HBV has one value alone in the slice that is shown"),
        ("t2w", {"voxels": blank_slice}, "T2W has one value alone in the slice that is shown"),
    ],
)
def test_a_sequence_that_shows_nothing_is_an_error_with_study_and_sequence(study, sequence, settings, reason, caplog):
    change(study[sequence], **settings)
    with pytest.raises(DataError, match=f"^study '10000_1000000': {re.escape(reason)}.*--skip_unreadable true$"):
        prepared(study)
    with caplog.at_level(logging.WARNING):
        assert prepared(study, skip_unreadable=True).num_skipped == 1
    assert f"left out: study '10000_1000000': {reason}" in caplog.text


def test_a_part_that_is_missing_is_told(study, caplog):
    change(study["adc"], (0.0, -3.0, 0.0))
    with caplog.at_level(logging.INFO):
        prepared(study)
    assert "study '10000_1000000': ADC covers 85 % of the slice that is shown" in caplog.text


def test_sequences_that_are_not_used_are_not_checked(study):
    change(study["adc"], (400.0, 0.0, 0.0))
    assert len(prepared(study, sequences=["t2w"])) == 1
