# SPDX-License-Identifier: Apache-2.0
import io
import math

import numpy as np
import pytest
import torch
from tqdm import tqdm

from medti_components.data.requests.inpainting_input import InpaintingInput
from medti_components.errors import ConfigError
from medti_components.inferers.inpainting_canvas import InpaintingCanvas
from medti_components.inferers.inpainting_sampler import InpaintingSampler, num_steps_run
from medti_components.inferers.latent_sampler import SCHEDULERS, LatentSampler
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # diffusers on NumPy 2
COMMON = ["EulerAncestralDiscreteScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler"]
STEPS = 6


@pytest.fixture(scope="module", params=["epsilon", "v"])
def model(request, micro_base, micro_base_v):
    return FrozenLatentDiffusion.from_pretrained(str(micro_base if request.param == "epsilon" else micro_base_v))


@pytest.fixture(scope="module")
def conditions(model):
    with torch.no_grad():
        return model.condition_from_prompt("two rings", {}), model.condition_from_prompt("", {})


def canvas_of(box, size=32, **settings):
    """A canvas on random pixels, with a box (top, bottom, left, right) to be painted."""
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[box[0] : box[1], box[2] : box[3]] = True
    return InpaintingCanvas(InpaintingInput(pixels, mask, {}), **{"mask_blur": 0.0, **settings})


ALL = (0, 32, 0, 32)
LEFT = (0, 32, 0, 16)


class WithoutMask(InpaintingSampler):
    """Takes all latents for known, and leaves them as sampling ends with them."""

    def __call__(self, model, condition, unconditional, seeds, strength=None):
        known, _ = self.known_latents(model)
        return LatentSampler.__call__(
            self,
            model,
            condition,
            unconditional,
            seeds,
            first_step=self.first_step,
            start=known if self.first_step else None,
            revise=lambda denoised: known,
        )


@pytest.mark.parametrize("strength", [0.7, 1.0])
@pytest.mark.parametrize("scheduler", COMMON)
def test_without_a_mask_sampling_itself_ends_at_the_image_s_latents(model, conditions, scheduler, strength):
    sampler = WithoutMask(LatentSampler(scheduler, STEPS), canvas_of(LEFT), strength)
    known, _ = sampler.known_latents(model)
    latents = sampler(model, *conditions, [3, 4])
    scale = float(known.abs().max())
    torch.testing.assert_close(latents / scale, (known / scale).expand(2, -1, -1, -1), rtol=0, atol=1e-4)
    torch.testing.assert_close(model.decode(latents[:1]), model.decode(known), rtol=0, atol=1e-3)


# PNDM averages predictions of steps whose timesteps, spaced evenly, are not those that it computes with
@pytest.mark.parametrize("scheduler", [name for name in SCHEDULERS if name != "PNDMScheduler"])
@pytest.mark.parametrize("strength", [0.2, 0.5, 0.7])
def test_every_scheduler_goes_from_any_step_to_the_latents_it_is_told(micro_base, scheduler, strength):
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base))
    with torch.no_grad():
        conditions = model.condition_from_prompt("two rings", {}), model.condition_from_prompt("", {})
    sampler = WithoutMask(LatentSampler(scheduler, STEPS), canvas_of(LEFT), strength)
    known, _ = sampler.known_latents(model)
    difference = sampler(model, *conditions, [3]) - known
    # DEIS ends at the smallest noise of training, a sigma of 0.0292
    left = 0.0292 * 4 if scheduler == "DEISMultistepScheduler" else 1e-4
    assert float(difference.abs().max()) < left


def test_pndm_begins_within_its_schedule_by_its_linear_multistep(micro_base):
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base))
    with torch.no_grad():
        conditions = model.condition_from_prompt("two rings", {}), model.condition_from_prompt("", {})
    sampler = InpaintingSampler(LatentSampler("PNDMScheduler", STEPS), canvas_of(ALL), 0.5)
    assert sampler.num_calls(model) == 4  # of three steps, the second twice
    latents = sampler(model, *conditions, [3])
    model.scheduler_config["skip_prk_steps"] = True
    assert torch.equal(latents, sampler(model, *conditions, [3]))


@pytest.mark.parametrize("scheduler", COMMON)
def test_mask_of_the_whole_image_at_strength_1_is_plain_generation(model, conditions, scheduler):
    plain = LatentSampler(scheduler, STEPS)
    expected = plain(model, *conditions, [3, 4])
    scale = float(expected.std())
    for fill in ("original", "noise"):
        latents = InpaintingSampler(plain, canvas_of(ALL), 1.0, fill)(model, *conditions, [3, 4])
        torch.testing.assert_close(latents / scale, expected / scale, rtol=0, atol=1e-3)


@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_known_latents_are_kept_and_masked_ones_painted_by_every_scheduler(micro_base, scheduler, strength):
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base))
    with torch.no_grad():
        conditions = model.condition_from_prompt("two rings", {}), model.condition_from_prompt("", {})
    sampler = InpaintingSampler(LatentSampler(scheduler, STEPS), canvas_of(LEFT), strength)
    known, mask = sampler.known_latents(model)
    assert mask[0, 0].int().tolist() == [[1, 1, 0, 0]] * 4
    latents = sampler(model, *conditions, [3, 4])
    assert bool(torch.isfinite(latents).all())
    assert torch.equal(latents[..., 2:], known[..., 2:].expand(2, -1, -1, -1))
    assert float((latents[..., :2] - known[..., :2]).abs().mean()) > 0.05 * float(known.std())
    assert float((latents[0] - latents[1])[..., :2].abs().mean()) > 0.01 * float(known.std())


@pytest.mark.parametrize("fill", ["original", "noise", "zeros", "blurred"])
def test_an_image_depends_on_its_own_seed_alone(model, conditions, fill):
    sampler = InpaintingSampler(LatentSampler(num_inference_steps=STEPS), canvas_of(LEFT), 0.6, fill)
    together = sampler(model, *conditions, [3, 4, 5])
    alone = sampler(model, *conditions, [4])
    scale = float(together.std())
    torch.testing.assert_close(together[1] / scale, alone[0] / scale, rtol=0, atol=1e-4)


def test_fills_differ_in_the_mask_before_noise_is_added(micro_base):
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base))
    plain = LatentSampler(num_inference_steps=STEPS)
    samplers = {f: InpaintingSampler(plain, canvas_of(LEFT), 0.5, f) for f in ("original", "noise", "zeros", "blurred")}
    known = {fill: sampler.known_latents(model)[0] for fill, sampler in samplers.items()}
    filling = {fill: sampler._filling(known[fill], [3, 4]) for fill, sampler in samplers.items()}
    assert torch.equal(filling["original"], known["original"])
    assert float(filling["zeros"].abs().max()) == 0.0
    assert filling["noise"].shape == (2, 4, 4, 4)
    assert float(filling["noise"].std()) == pytest.approx(1.0, abs=0.2)
    assert float((filling["blurred"] - known["original"]).abs().mean()) > 1e-3


@pytest.mark.parametrize(("strength", "calls"), [(0.5, 3), (0.7, 4), (1.0, 6)])
def test_only_the_steps_of_the_strength_call_the_unet(micro_base, strength, calls):
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base))
    sampler = InpaintingSampler(LatentSampler(num_inference_steps=STEPS), canvas_of(LEFT), strength)
    assert sampler.num_calls(model) == calls
    with torch.no_grad():
        conditions = model.condition_from_prompt("two rings", {}), model.condition_from_prompt("", {})
    with tqdm(total=calls, file=io.StringIO()) as bar:
        sampler(model, *conditions, [0], progress=bar)
        assert bar.n == calls


def test_less_strength_leaves_more_of_the_image(model, conditions):
    def change(strength):
        sampler = InpaintingSampler(LatentSampler("DDIMScheduler", 10), canvas_of(ALL), strength)
        known, _ = sampler.known_latents(model)
        return float((sampler(model, *conditions, [3]) - known).abs().mean())

    assert change(0.1) < change(0.5) < change(0.9)


def test_settings_of_the_sampler_are_kept():
    plain = LatentSampler("DDIMScheduler", 12, 3.0)
    sampler = InpaintingSampler(plain, canvas_of(LEFT), 0.5)
    assert {name: vars(sampler)[name] for name in vars(plain)} == vars(plain)


def test_unknown_fill_and_strength_are_refused():
    with pytest.raises(ConfigError, match="fill must be one of original, noise, zeros, blurred, got 'latent noise'"):
        InpaintingSampler(LatentSampler(), canvas_of(LEFT), fill="latent noise")
    with pytest.raises(ConfigError, match="strength must be above 0 and at most 1, got 2"):
        InpaintingSampler(LatentSampler(), canvas_of(LEFT), strength=2)


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
