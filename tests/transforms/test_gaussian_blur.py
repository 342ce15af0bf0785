# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from medti_components.transforms.gaussian_blur import gaussian_blur, local_contrast

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_a_point_becomes_the_gaussian_itself():
    image = torch.zeros(1, 41, 41)
    image[0, 20, 20] = 1
    blurred = gaussian_blur(image, 4.0)
    assert float(blurred.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(blurred[0, 20, 24] / blurred[0, 20, 20]) == pytest.approx(math.exp(-0.5), rel=1e-4)
    assert torch.equal(blurred > 0, torch.ones(1, 41, 41).bool() & (_distance(41, 20) <= 10))


def _distance(size, centre):
    """Distance along the axis where it is larger, to the pixel in the middle."""
    offsets = (torch.arange(size) - centre).abs()
    return torch.maximum(offsets[:, None], offsets[None, :])


def test_pixels_out_of_reach_stay_exactly_zero():
    image = torch.zeros(2, 30, 30)
    image[:, :5] = 1
    blurred = gaussian_blur(image, 2.0)
    assert float(blurred[:, :10].min()) > 0
    assert float(blurred[:, 10:].abs().max()) == 0.0


def test_width_zero_leaves_the_image_as_it_is():
    image = torch.rand(1, 3, 3)
    assert gaussian_blur(image, 0.0) is image


def test_what_is_even_stays_even_up_to_the_edges_however_wide_the_blur():
    torch.testing.assert_close(gaussian_blur(torch.full((1, 8, 6), 0.5), 40.0), torch.full((1, 8, 6), 0.5))


def test_brightness_drops_out():
    torch.testing.assert_close(local_contrast(IMAGES + 0.5, 4.0), local_contrast(IMAGES, 4.0), atol=1e-4, rtol=0)


def test_strong_contrast_drops_out():
    strong, stronger = (local_contrast(IMAGES * gain, 4.0) for gain in (100, 1000))
    torch.testing.assert_close(strong, stronger, atol=0.02, rtol=0)


def test_a_flat_area_stays_flat_beside_a_busy_one():
    image = torch.zeros(1, 1, 32, 32)
    image[..., 24:] = IMAGES[0, 0, :, 24:]
    found = local_contrast(image, 2.0)
    assert float(found[..., :8].abs().max()) < 1e-6
    assert float(found[..., 28:].abs().max()) > 0.5
