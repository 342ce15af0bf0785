# SPDX-License-Identifier: Apache-2.0
import math
import re

import pytest
import torch

from medti_components.errors import ConfigError
from medti_components.inferers.inpainting import (
    blurred_colours,
    latent_mask,
    num_steps_run,
    paste_weight,
    square_around,
)


@pytest.mark.parametrize(("strength", "steps"), [(0.05, 1), (0.29, 5), (0.75, 15), (0.999, 19), (0.9999, 19), (1, 20)])
def test_strength_is_the_share_of_steps_that_is_run(strength, steps):
    assert num_steps_run(strength, 20) == steps


@pytest.mark.parametrize("strength", [0, -0.5, 1.01, math.nan, "half", True, None])
def test_strength_out_of_range_is_refused(strength):
    with pytest.raises(ConfigError, match="^strength must be above 0 and at most 1, got .*: correct --strength"):
        num_steps_run(strength, 20)


def test_strength_that_runs_no_step_is_refused():
    with pytest.raises(ConfigError, match="strength 0.04 of num_inference_steps 20 must run a step, it runs none: rai"):
        num_steps_run(0.04, 20)


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
