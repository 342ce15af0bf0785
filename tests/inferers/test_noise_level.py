# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.inferers.latent_sampler import SCHEDULERS, scheduler_for
from medti_components.inferers.noise_level import NoiseLevel

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
NUM_STEPS = 8
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # diffusers on NumPy 2


def prepared(name, prediction_type="epsilon"):
    scheduler = scheduler_for(name, {**SCHEDULE, "prediction_type": prediction_type})
    scheduler.set_timesteps(NUM_STEPS)
    return scheduler


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("is_scaled", [True, False])
def test_prediction_and_denoised_latents_are_inverses(prediction_type, is_scaled):
    generator = torch.Generator().manual_seed(0)
    sample, prediction = torch.randn(2, 4, 3, 3, generator=generator)
    level = NoiseLevel.of_sigma(2.0, is_scaled)
    denoised = level.denoised(prediction, sample, prediction_type)
    torch.testing.assert_close(level.prediction(denoised, sample, prediction_type), prediction)
    torch.testing.assert_close(level.revised(prediction, sample, prediction_type, lambda x0: x0), prediction)
    moved = level.revised(prediction, sample, prediction_type, lambda x0: x0 + 1)
    torch.testing.assert_close(level.denoised(moved, sample, prediction_type), denoised + 1)


def test_v_is_signal_times_noise_less_noise_times_signal():
    level, x0, epsilon = NoiseLevel.of_sigma(0.75, is_scaled=False), torch.tensor(2.0), torch.tensor(-1.0)
    sample = level.noised(x0, epsilon)
    assert float(sample) == pytest.approx(0.8 * 2 - 0.6)
    v = 0.8 * epsilon - 0.6 * x0
    assert float(level.denoised(v, sample, "v_prediction")) == pytest.approx(2.0)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_first_level_is_the_last_of_training(name):
    scheduler = prepared(name)
    level = NoiseLevel.of_scheduler(scheduler, 0, scheduler.timesteps[0])
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alpha = float((1 - betas).prod())
    assert level.signal == pytest.approx(alpha**0.5, rel=1e-4)
    assert level.noise == pytest.approx((1 - alpha) ** 0.5, rel=1e-4)
    # a unit of noise is what the schedulers of k-diffusion multiply by the largest sigma
    assert level.scale * level.noise == pytest.approx(float(scheduler.init_noise_sigma), rel=3e-3)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "PNDMScheduler"])
def test_denoised_latents_are_those_that_the_scheduler_itself_computes(name, prediction_type):
    """A scheduler that is told at each step that x0 is a fixed tensor ends at that tensor."""
    scheduler = prepared(name, prediction_type)
    generator = torch.Generator().manual_seed(0)
    target, sample = torch.randn(2, 1, 4, 3, 3, generator=generator)
    sample = sample * scheduler.init_noise_sigma
    for index, timestep in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(sample, timestep)
        level = NoiseLevel.of_scheduler(scheduler, index, timestep)
        prediction = level.prediction(target, sample, prediction_type)
        sample = scheduler.step(prediction, timestep, sample, return_dict=False)[0]
    last = scheduler.sigmas[-1] if name == "DEISMultistepScheduler" else 0.0  # DEIS stops at the smallest noise
    torch.testing.assert_close(sample, target, rtol=0, atol=1e-4 + 3 * float(last))
