# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK
import torch

from medti_components.errors import ConfigError
from medti_components.handlers.volume_saver import SequenceVolumeSaver


def run_over(image: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(state=SimpleNamespace(batch={"name": ["a_0"]}, output={"pred": image[None]}))


def test_each_sequence_is_a_volume_with_its_true_spacing(tmp_path):
    image = torch.stack([torch.full((64, 64), value) for value in (-1.0, 0.0, 1.0)])
    SequenceVolumeSaver(tmp_path, ["t2w", "adc", "hbv"])(run_over(image))
    for sequence, value in (("t2w", 0.0), ("adc", 0.5), ("hbv", 1.0)):
        volume = SimpleITK.ReadImage(tmp_path / "volumes" / f"a_0_{sequence}.mha")
        assert volume.GetSize() == (300, 300, 1)
        assert volume.GetSpacing() == (0.5, 0.5, 3.0)
        assert volume.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
        assert volume.GetMetaData("Synthetic") == "true"
        pixels = SimpleITK.GetArrayFromImage(volume)
        assert pixels.dtype == np.float32
        np.testing.assert_allclose(pixels, value, atol=1e-6)


def test_rows_and_columns_keep_their_places(tmp_path):
    image = torch.full((3, 64, 64), -1.0)
    image[:, :32, 48:] = 1.0  # anterior, on the patient's left
    pixels = SequenceVolumeSaver(tmp_path, ["t2w", "adc", "hbv"]).resampled(image)[0]
    assert pixels.shape == (300, 300)
    assert pixels[:140, 235:].min() > 0.999
    assert pixels[160:].max() < 0.001
    assert pixels[:, :215].max() < 0.001


def test_larger_images_are_averaged_down(tmp_path):
    image = torch.ones(3, 600, 600)
    image[:, ::2] = -1.0  # lines finer than the volume's pixels
    pixels = SequenceVolumeSaver(tmp_path, ["t2w", "adc", "hbv"]).resampled(image)
    np.testing.assert_allclose(pixels[:, 5:-5, 5:-5], 0.5, atol=0.02)


def test_single_sequence_is_the_mean_of_the_channels(tmp_path):
    image = torch.stack([torch.full((64, 64), value) for value in (-1.0, 0.0, 0.4)])
    SequenceVolumeSaver(tmp_path, ["t2w"])(run_over(image))
    assert [path.name for path in (tmp_path / "volumes").iterdir()] == ["a_0_t2w.mha"]
    volume = SimpleITK.ReadImage(tmp_path / "volumes" / "a_0_t2w.mha")
    np.testing.assert_allclose(SimpleITK.GetArrayFromImage(volume), 0.4, rtol=1e-6)  # (0 + 0.5 + 0.7) / 3


def test_two_sequences_do_not_fit_three_channels(tmp_path):
    with pytest.raises(ConfigError, match=r"sequences must name one or three sequences, got \['t2w', 'adc'\]"):
        SequenceVolumeSaver(tmp_path, ["t2w", "adc"])
