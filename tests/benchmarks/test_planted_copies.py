# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from planted_copies import Trial, changes
from smooth_images import smooth_images
from torch import nn

from medti_components.evaluation.copy_detection import CopyDetection
from medti_components.evaluation.image_features import ImageFeatures
from medti_components.metrics.aligned_correlation import AlignedCorrelation
from medti_components.networks.feature_network import FeatureNetwork

IMAGES = smooth_images(100, "patients", edge=64)


@pytest.mark.parametrize("any_orientation", [False, True])
def test_every_change_leaves_an_image_of_the_same_size_and_range(any_orientation):
    stream = torch.Generator().manual_seed(0)
    for name, change in changes(any_orientation, in_colour=any_orientation).items():
        changed = change(IMAGES[0], stream)
        assert changed.shape == IMAGES[0].shape, name
        assert changed.abs().max() <= 1, name
        assert not torch.equal(changed, IMAGES[0]), name


def test_planted_copies_are_found_and_others_are_not():
    network = FeatureNetwork("means", nn.Sequential(nn.AvgPool2d(8), nn.Flatten()))
    detection = CopyDetection(ImageFeatures(network, show_progress=False), AlignedCorrelation(show_progress=False))
    trial = Trial(detection, IMAGES, 40, 30, 30, 4, changes(False, False), seed=0)
    others, *kinds = (a | b for a, b in zip(trial.found["pixels"], trial.found["features"], strict=True))
    assert int(others.sum()) == 0
    assert sum(int(found.sum()) for found in kinds) >= 0.95 * 5 * 4


def test_more_patients_than_there_are():
    with pytest.raises(SystemExit, match=r"^error: 90 \+ 9 \+ 9 patients asked for, 100 there$"):
        Trial(None, IMAGES, 90, 9, 9, 1, {}, seed=0)
