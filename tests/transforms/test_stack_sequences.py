# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.errors import ConfigError
from medti_components.transforms.stack_sequences import StackSequencesd

STUDY = {
    "t2w": torch.full((1, 1, 2, 2), 0.1),
    "adc": torch.full((1, 1, 2, 2), 0.2),
    "hbv": torch.full((1, 1, 2, 2), 0.3),
}


def test_three_sequences_are_the_channels_in_order():
    image = StackSequencesd(["hbv", "t2w", "adc"])(STUDY)["image"]
    assert tuple(image.shape) == (3, 2, 2)
    assert image[:, 0, 0].tolist() == pytest.approx([0.3, 0.1, 0.2])


def test_one_sequence_fills_all_channels():
    assert StackSequencesd("t2w")(STUDY)["image"][:, 0, 0].tolist() == pytest.approx([0.1, 0.1, 0.1])


def test_two_sequences_are_an_error():
    with pytest.raises(
        ConfigError, match=r"^sequences must be one name or three, got \['t2w', 'adc'\]: set --sequences"
    ):
        StackSequencesd(["t2w", "adc"])


def test_unknown_sequence_is_an_error():
    with pytest.raises(ConfigError, match="^sequences must be of 't2w', 'adc', 'hbv', got 'dwi': correct --sequences$"):
        StackSequencesd(["t2w", "adc", "dwi"])(STUDY)
