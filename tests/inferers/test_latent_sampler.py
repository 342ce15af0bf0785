# SPDX-License-Identifier: Apache-2.0
import io
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import StableDiffusionPipeline
from tqdm import tqdm

import medti_components
from medti_components.errors import ConfigError
from medti_components.inferers.latent_sampler import SCHEDULERS, LatentSampler, scheduler_for
from medti_components.networks.concept_embedding import ConceptEmbedding
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # diffusers on NumPy 2
EMBEDDED_BASE = Path(medti_components.__file__).parents[1] / "bundles" / "tiny_latent_diffusion" / "models"


@pytest.fixture(scope="module")
def model(micro_base):
    return FrozenLatentDiffusion.from_pretrained(str(micro_base))


@pytest.fixture(scope="module")
def conditions(model):
    with torch.no_grad():
        return model.condition_from_prompt("two rings", {}), model.condition_from_prompt("", {})


def difference_to_diffusers(folder: Path, scheduler: str, steps: int, guidance: float, num_vectors: int) -> float:
    """Mean absolute difference of images in [0, 1] between this sampler and StableDiffusionPipeline."""
    model = FrozenLatentDiffusion.from_pretrained(str(folder))
    word = ConceptEmbedding.initialized("<nodule>", num_vectors, model, seed=0)
    seeds = [11, 12]
    with torch.no_grad():
        condition = model.condition_from_rows(word.rows)
        unconditional = model.condition_from_prompt("", {})
        latents = LatentSampler(scheduler, steps, guidance)(model, condition, unconditional, seeds)
        images = (model.decode(latents) + 1) / 2

    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    scheduler_class = getattr(diffusers, scheduler)
    pipeline.scheduler = scheduler_class.from_config(pipeline.scheduler.config, timestep_spacing="linspace")
    pipeline.load_textual_inversion({"<nodule>": word.rows.detach()})
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    expected = pipeline(
        ["<nodule>"] * 2,
        height=model.image_size,
        width=model.image_size,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=generators,
        output_type="pt",
    ).images
    return float((images - expected).abs().mean())


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize(
    "scheduler", ["EulerAncestralDiscreteScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler"]
)
def test_images_equal_those_of_diffusers(micro_base, scheduler, guidance):
    assert difference_to_diffusers(micro_base, scheduler, 20, guidance, num_vectors=5) < 1e-3


def test_images_of_a_v_model_equal_those_of_diffusers(micro_base_v):
    assert difference_to_diffusers(micro_base_v, "EulerAncestralDiscreteScheduler", 20, 2.0, num_vectors=5) < 1e-3


@pytest.mark.skipif(not (EMBEDDED_BASE / "unet").is_dir(), reason="the embedded base model is not there")
def test_images_of_the_embedded_base_equal_those_of_diffusers():
    assert difference_to_diffusers(EMBEDDED_BASE, "EulerAncestralDiscreteScheduler", 20, 2.0, num_vectors=64) < 1e-3


def test_an_image_depends_on_its_own_seed_alone(model, conditions):
    sampler = LatentSampler(num_inference_steps=10)
    together = sampler(model, *conditions, [3, 4, 5])
    alone = sampler(model, *conditions, [4])
    scale = float(together.std())
    torch.testing.assert_close(together[1] / scale, alone[0] / scale, rtol=0, atol=1e-4)
    assert float((together[0] - together[1]).abs().mean()) > 0.1 * scale


def test_a_condition_for_each_image_is_that_image_alone(model, conditions):
    sampler = LatentSampler(num_inference_steps=5)
    condition, unconditional = conditions
    mixed = sampler(model, torch.cat([condition, unconditional]), unconditional, [3, 4])
    alone = sampler(model, condition, unconditional, [3])
    torch.testing.assert_close(mixed[0], alone[0], rtol=1e-4, atol=1e-3)


def test_composed_conditions_take_their_weights(model, conditions):
    sampler = LatentSampler(num_inference_steps=5, guidance_scale=2.0)
    condition, unconditional = conditions
    halves = sampler(model, [condition, condition], unconditional, [3], weights=[0.5, 0.5])
    torch.testing.assert_close(halves, sampler(model, condition, unconditional, [3]), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_runs_and_keeps_images_apart(model, conditions, name):
    sampler = LatentSampler(name, num_inference_steps=6)
    together = sampler(model, *conditions, [3, 4])
    assert bool(torch.isfinite(together).all())
    scale = float(together.std())
    torch.testing.assert_close(together[1] / scale, sampler(model, *conditions, [4])[0] / scale, rtol=0, atol=1e-4)


def test_progress_moves_on_at_each_call_of_the_unet(model, conditions):
    sampler = LatentSampler("HeunDiscreteScheduler", num_inference_steps=5)
    assert sampler.num_calls(model) == 9  # second order: two calls a step but for the last
    with tqdm(total=9, file=io.StringIO()) as bar:
        sampler(model, *conditions, [0], progress=bar)
        assert bar.n == 9


def test_first_timestep_is_the_last_of_training_for_every_scheduler(model):
    for name in SCHEDULERS:
        scheduler = scheduler_for(name, model.scheduler_config)
        scheduler.set_timesteps(10)
        assert float(scheduler.timesteps[0]) == 999


def test_unknown_scheduler_names_the_nearest():
    with pytest.raises(ConfigError, match="got 'EulerAncestral': did you mean 'EulerAncestralDiscreteScheduler'"):
        LatentSampler("EulerAncestral")
    with pytest.raises(ConfigError, match="got 'xyz': choose one of DDIMScheduler, DDPMScheduler"):
        LatentSampler("xyz")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps must be a whole number of at least 1, got 0"),
        ({"num_inference_steps": 2.5}, "num_inference_steps must be a whole number of at least 1, got 2.5"),
        ({"guidance_scale": -1}, "guidance_scale must be at least 0, got -1"),
        ({"guidance_scale": float("nan")}, "guidance_scale must be at least 0, got nan"),
        ({"guidance_scale": "two"}, "guidance_scale must be a number, got 'two'"),
        ({"guidance_interval": [2, 1]}, r"guidance_interval must be two noise levels, .*, got \[2, 1\]"),
        ({"guidance_interval": "ab"}, "guidance_interval must be two noise levels"),
        ({"guidance_interval": [0, 1], "absolute_weights": True}, "guidance_interval must be null with absolute_w"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        LatentSampler(**settings)


def test_more_steps_than_timesteps_are_refused(model, conditions):
    with pytest.raises(ConfigError, match="num_inference_steps must be at most 1000, .* got 1001"):
        LatentSampler(num_inference_steps=1001)(model, *conditions, [0])
