# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from monai.transforms import Compose

from medti_components.errors import ConfigError
from medti_components.transforms.augmentation import RandChannelDropoutd, augmentation_settings


def hidden(dropout, image):
    return [int(index) for index in (dropout({"image": image})["image"].flatten(1) == 0).all(dim=1).nonzero().flatten()]


def test_one_channel_at_a_time_and_each_in_turn() -> None:
    dropout, image = RandChannelDropoutd("image", prob=1.0).set_random_state(0), torch.ones(3, 2, 2)
    found = [hidden(dropout, image) for _ in range(60)]
    assert all(len(channels) == 1 for channels in found)
    assert {channels[0] for channels in found} == {0, 1, 2}
    assert image.min() == 1  # the image itself stays


@pytest.mark.parametrize("prob", [0.0, 0.3])
def test_as_often_as_said(prob) -> None:
    dropout, image = RandChannelDropoutd("image", prob=prob).set_random_state(0), torch.ones(3, 2, 2)
    share = sum(bool(hidden(dropout, image)) for _ in range(500)) / 500
    assert share == pytest.approx(prob, abs=0.07)


def test_fills_with_the_value_given_and_does_the_same_to_all_keys() -> None:
    dropout = RandChannelDropoutd(["a", "b"], prob=1.0, fill=-1.0).set_random_state(0)
    changed = dropout({"a": torch.ones(3, 2, 2), "b": torch.ones(3, 2, 2)})
    assert torch.equal(changed["a"], changed["b"])
    assert changed["a"].min() == -1


def test_random_state_decides() -> None:
    chain = Compose([RandChannelDropoutd("image", prob=0.5)])
    runs = []
    for _ in range(2):
        chain.set_random_state(4)
        runs.append([tuple(hidden(chain, torch.ones(3, 2, 2))) for _ in range(20)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 1


def test_unknown_level_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="^augmentation_level must be one of none, light, got 'strong'$"):
        augmentation_settings({"noise": {"none": 0.0, "light": 0.1}}, "strong")
