# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from medti_components.evaluation.image_features import ImageFeatures
from medti_components.evaluation.image_quality import PublishedDistance, standardized_pixels
from medti_components.metrics.frechet_distance import frechet_distance
from medti_components.networks.feature_network import FeatureNetwork


def pictures(seed, n=10):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_each_image_has_its_own_mean_and_deviation():
    pixels = standardized_pixels(torch.cat([pictures(0, 1) * 0.1, pictures(1, 1) * 0.5 + 0.3]))
    assert pixels.dtype == torch.uint8
    for image in pixels.float():
        assert float(image.mean()) == pytest.approx(127.5, abs=1)  # values are cut to whole numbers
        assert float(image.std()) == pytest.approx(64, abs=1)


def test_far_values_are_clipped_and_an_even_image_is_grey():
    images = torch.zeros(2, 3, 8, 8)
    images[0, 0, 0, 0] = 1
    pixels = standardized_pixels(images)
    assert pixels[0].max() == 255
    assert set(pixels[1].unique().tolist()) == {128}


def test_brightness_and_contrast_do_not_count():
    features = ImageFeatures(FeatureNetwork("pixels", nn.Sequential(nn.AvgPool2d(4), nn.Flatten())))
    x, y = pictures(0), pictures(1)
    distance = PublishedDistance(features)(x * 0.5 + 0.1, y).value
    seen = [features(standardized_pixels(images).float() / 127.5 - 1) for images in (x, y)]
    assert distance == pytest.approx(float(frechet_distance(*seen)), rel=0.05)
