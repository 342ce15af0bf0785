# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
import torch

from medti_components.data.requests.inpainting_input import InpaintingInput
from medti_components.errors import ConfigError
from medti_components.inferers.inpainting_canvas import (
    InpaintingCanvas,
    blurred_colours,
    latent_mask,
    paste_weight,
    square_around,
)


def source_of(height=64, width=64, box=(16, 40, 20, 48)):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[box[0] : box[1], box[2] : box[3]] = True
    return InpaintingInput(pixels, mask, {})


def test_whole_image_is_seen_at_the_model_s_size():
    canvas = InpaintingCanvas(source_of(), mask_blur=0.0)
    assert torch.equal(canvas.image(64), canvas.source.image)
    assert canvas.image(32).shape == (3, 32, 32)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:5, 3:6] = True  # columns 20 to 48: of latent 2 just half is covered
    expected[2:5, 2] = True
    assert torch.equal(canvas.latent_mask((8, 8)), expected)


def test_pasted_pixels_are_the_generated_ones_inside_and_the_input_s_out_of_reach():
    canvas = InpaintingCanvas(source_of(), mask_blur=1.0)
    pasted = canvas.pasted(torch.ones(3, 32, 32))
    mask = canvas.source.mask.numpy()
    assert (pasted[18:38, 22:46] == 255).all()
    outside = canvas.weight.numpy() == 0
    assert np.array_equal(pasted[outside], canvas.source.pixels[outside])
    assert (~outside & ~mask).any()
    assert int((~outside).sum()) <= (24 + 6) * (28 + 6)  # three pixels of blur on each side


def test_only_the_surroundings_of_the_mask_are_generated():
    canvas = InpaintingCanvas(source_of(100, 60), mask_blur=0.0, only_masked=True, padding=4)
    assert (canvas.top, canvas.left, canvas.edge) == (10, 16, 36)
    assert canvas.image(64).shape == (3, 64, 64)
    torch.testing.assert_close(canvas.image(36), canvas.source.image[:, 10:46, 16:52])
    placed = canvas.placed(torch.ones(3, 64, 64))
    assert placed.shape == (3, 100, 60)
    assert float(placed[:, 10:46, 16:52].min()) == pytest.approx(1.0)
    placed[:, 10:46, 16:52] = canvas.source.image[:, 10:46, 16:52]
    assert torch.equal(placed, canvas.source.image)


def test_blurred_colours_take_the_place_of_the_mask_alone():
    canvas = InpaintingCanvas(source_of(), mask_blur=0.0)
    filled = canvas.filled_image(64)
    changed = (filled - canvas.source.image).abs().amax(dim=0) > 1e-4
    assert not bool((changed & ~canvas.source.mask).any())
    assert float(filled[:, canvas.source.mask].std()) < 0.5 * float(canvas.source.image[:, canvas.source.mask].std())


def test_image_that_is_not_square_is_refused_unless_its_surroundings_alone_are_generated():
    message = "image must be square, as the base model's are, got 80 x 64 pixels: crop it, or generate the mask's surr"
    with pytest.raises(ConfigError, match=re.escape(message)):
        InpaintingCanvas(source_of(64, 80))
    InpaintingCanvas(source_of(64, 80), only_masked=True)


def test_mask_smaller_than_a_latent_is_refused():
    source = source_of(box=(20, 23, 20, 23))
    message = (
        "mask must cover half a latent, 8 x 8 pixels of this image, after mask_blur 4: enlarge it, lower --mask_bl"
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        InpaintingCanvas(source).latent_mask((8, 8))
    with pytest.raises(ConfigError, match="enlarge it, lower --mask_blur, or lower --padding"):
        InpaintingCanvas(source, only_masked=True).latent_mask((8, 8))
    assert bool(InpaintingCanvas(source, 0.0, only_masked=True, padding=2).latent_mask((8, 8)).any())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask_blur": -1.0}, "mask_blur must be a number of pixels of at least 0, got -1.0"),
        ({"mask_blur": float("nan")}, "mask_blur must be a number of pixels of at least 0, got nan"),
        ({"mask_blur": "soft"}, "mask_blur must be a number of pixels of at least 0, got 'soft'"),
        ({"padding": -1}, "padding must be a whole number of pixels of at least 0, got -1"),
        ({"padding": 1.5}, "padding must be a whole number of pixels of at least 0, got 1.5"),
    ],
)
def test_setting_out_of_range_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        InpaintingCanvas(source_of(), **settings)


def half(size=40):
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[: size // 2] = True
    return mask


def test_everything_within_the_mask_is_painted_and_nothing_out_of_reach():
    weight = paste_weight(half(), 2.0)
    assert float(weight[:20].min()) == pytest.approx(1.0)
    assert float(weight[20:25].min()) > 0
    assert float(weight[25:].max()) == 0.0
    assert torch.equal(paste_weight(half(), 0.0), half().float())


def test_latents_are_painted_where_the_blurred_mask_covers_half():
    assert latent_mask(half(), 4.0, (5, 5)).int()[:, 0].tolist() == [1, 1, 1, 0, 0]  # the third is cut in halves
    assert bool(latent_mask(torch.ones(40, 40, dtype=torch.bool), 4.0, (5, 5)).all())
    point = torch.zeros(40, 40, dtype=torch.bool)
    point[20, 20] = True
    assert not bool(latent_mask(point, 0.0, (5, 5)).any())


def test_blurred_colours_are_those_of_the_surroundings():
    image = torch.full((3, 64, 64), -0.5)
    image[0, :, 32:] = 0.5  # the right half is reddish
    inside = image.clone()
    weight = torch.zeros(64, 64)
    weight[20:40, 8:20] = 1
    inside[:, 20:40, 8:20] = 1.0  # what is there counts for nothing
    filled = blurred_colours(inside, weight)
    assert torch.equal(filled, blurred_colours(image, weight))
    torch.testing.assert_close(filled[:, weight == 0], inside[:, weight == 0])
    centre = filled[:, 30, 14]
    assert float(centre[1]) == pytest.approx(-0.5, abs=1e-4)
    assert -0.5 <= float(centre[0]) < 0.0


def test_square_holds_the_mask_with_its_padding_in_the_middle():
    weight = torch.zeros(100, 120)
    weight[40:50, 60:64] = 1
    assert square_around(weight, 8) == (32, 49, 26)
    assert square_around(weight, 0) == (40, 57, 10)


def test_square_is_shifted_into_the_image_and_no_larger_than_it():
    weight = torch.zeros(100, 120)
    weight[0:10, 110:120] = 1
    assert square_around(weight, 5) == (0, 100, 20)
    assert square_around(weight, 500) == (0, 20, 100)


def test_mask_that_fits_no_square_is_refused():
    weight = torch.zeros(40, 80)
    weight[5:10, 10:60] = 1
    message = "mask and its blur must fit a square within the image of 80 x 40 pixels, they span 50 x 5: draw a smaller"
    with pytest.raises(ConfigError, match=re.escape(message)):
        square_around(weight, 0)
