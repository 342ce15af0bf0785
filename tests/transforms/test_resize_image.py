# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.errors import ConfigError
from medti_components.transforms.resize_image import ResizeImaged, longest_edge_size, resize_image


def test_constant_stays_constant():
    for size in (5, 64, 301):
        torch.testing.assert_close(resize_image(torch.full((3, 300, 300), 0.7), size), torch.full((3, size, size), 0.7))


def test_same_size_is_left_alone():
    image = torch.rand(3, 9, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resize_image(image, 9), image)


def test_sizing_up_stays_within_the_range():
    image = torch.zeros(1, 8, 8)
    image[:, :, 4:] = 1  # an edge, where cubic convolution overshoots
    resized = resize_image(image, 64)
    assert float(resized.min()) == 0
    assert float(resized.max()) == 1


def test_sizing_down_does_not_alias():
    stripes = torch.arange(64).remainder(2).float().expand(1, 64, 64)  # one pixel on, one off: the mean is a half
    inner = resize_image(stripes, 16)[:, 2:-2, 2:-2]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.5), atol=0.02, rtol=0)


def test_height_and_width_may_differ():
    assert tuple(ResizeImaged("image", (4, 6))({"image": torch.zeros(3, 8, 8)})["image"].shape) == (3, 4, 6)


def test_longer_edge_decides_where_the_shape_is_kept():
    for height, width, expected in ((100, 50, (10, 5)), (50, 100, (5, 10)), (7, 7, (10, 10)), (1000, 3, (10, 1))):
        assert longest_edge_size(height, width, 10) == expected
        image = ResizeImaged("image", 10, keep_shape=True)({"image": torch.zeros(1, height, width)})["image"]
        assert tuple(image.shape) == (1, *expected)


def test_two_sizes_for_a_kept_shape_are_refused():
    with pytest.raises(ConfigError, match=r"^size must be one number where keep_shape is true, got \(4, 6\): correct"):
        ResizeImaged("image", (4, 6), keep_shape=True)
