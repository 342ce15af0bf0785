# SPDX-License-Identifier: Apache-2.0
import re

import pytest
import torch
from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure

from medti_components.errors import DataError
from medti_components.metrics.image_diversity import ImageDiversity, scale_weights


def noise(seed, n=12, size=32, grain=0.3, base=None):
    stream = torch.Generator().manual_seed(seed)
    return (torch.randn(n, 3, size, size, generator=stream) * grain + (0 if base is None else base)).clamp(-1, 1)


def test_is_torchmetrics_mean_over_the_pairs():
    images = noise(0, n=5)  # two steps along the circle: all ten pairs
    metric = MultiScaleStructuralSimilarityIndexMeasure(betas=scale_weights(32), data_range=2.0)
    expected = [float(metric(images[i : i + 1], images[j : j + 1])) for i in range(5) for j in range(i)]
    assert ImageDiversity()(images).value == pytest.approx(sum(expected) / 10, abs=1e-4)


def test_variations_of_one_image_are_more_alike_than_images():
    same, other = ImageDiversity()(noise(0, grain=0.05, base=noise(9, 1)[0])), ImageDiversity()(noise(1))
    assert same.low > other.high
    assert same.counts == {"images": 12}


@pytest.mark.parametrize(
    ("edge", "scales"), [(11, 1), (24, 2), (32, 2), (64, 3), (96, 3), (128, 4), (256, 5), (512, 5)]
)
def test_every_size_has_its_scales(edge, scales):
    assert len(scale_weights(edge)) == scales
    if edge <= 128:
        ImageDiversity()(noise(0, n=4, size=edge))


@pytest.mark.parametrize("shape", [(3, 3, 32, 32), (8, 3, 10, 32), (8, 32, 32)])
def test_too_few_or_too_small_images(shape):
    message = (
        "images must have shape (n, 3, height, width) with n >= 4 and edges of 11 or more, got "
        f"{shape}: evaluate more or larger images"
    )
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        ImageDiversity()(torch.zeros(shape))
