# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from smooth_images import smooth_images

from medti_components.metrics.aligned_correlation import aligned_correlation, contrasts, sampled, window_correlation

IMAGES = smooth_images(3, "windows", edge=64)
WHOLE = torch.tensor([[0.0, 0.0, 1.0]]).expand(3, 3)
TRUE = torch.tensor([[0.07, 0.11, 0.83], [0.0, 0.2, 0.8], [0.1, 0.1, 0.9]])
PIXEL = 1 / 32


@pytest.fixture
def templates():
    return contrasts(sampled(IMAGES, TRUE, 64), WHOLE, 28)


def test_the_window_itself_correlates_wholly(templates):
    assert float(window_correlation(templates, IMAGES, TRUE).min()) > 0.999


def test_a_window_off_by_half_a_pixel_is_moved_back(templates):
    begun = TRUE + torch.tensor([0.5, -0.5, 0.4]) * PIXEL
    before, after = (compare(templates, IMAGES, begun, *more) for compare, more in COMPARISONS)
    assert bool((after > before).all())
    assert float(after.min()) > 0.995


COMPARISONS = [(window_correlation, ()), (aligned_correlation, (PIXEL,))]


def test_brightness_and_contrast_change_little(templates):
    assert float(window_correlation(templates, IMAGES * 0.7 + 0.2, TRUE).min()) > 0.99


def test_a_flat_window_correlates_with_nothing(templates):
    assert float(window_correlation(templates, torch.full_like(IMAGES, 0.5), TRUE).abs().max()) < 0.01
