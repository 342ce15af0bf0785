# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from smooth_images import smooth_images

from medti_components.metrics.aligned_correlation import detail_correlation


@pytest.fixture(scope="module")
def images():
    """Images of 64 pixels that share a common picture."""
    return smooth_images(4, "details", edge=64)


def test_an_image_agrees_with_itself_whatever_its_brightness_and_contrast(images):
    assert detail_correlation(images, images) == pytest.approx(torch.ones(4))
    assert bool((detail_correlation(images * 0.7 - 0.2, images) > 0.95).all())


@pytest.mark.parametrize("place", [(0, 0), (6, 3), (12, 12)])
def test_a_window_is_found_wherever_it_is(images, place):
    top, left = place
    assert bool((detail_correlation(images[..., top : top + 52, left : left + 52], images) > 0.8).all())


def test_other_images_do_not_agree(images):
    assert bool((detail_correlation(images, images.roll(1, dims=0)) < 0.6).all())


def test_flat_images_agree_with_nothing(images):
    assert detail_correlation(torch.zeros_like(images), images) == pytest.approx(torch.zeros(4), abs=1e-3)
