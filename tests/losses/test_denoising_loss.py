# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.errors import ConfigError
from medti_components.losses.denoising_loss import DenoisingLoss, add_noise, denoising_target


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(3, 2, 4, 4, generator=generator)
    noise = torch.randn(3, 2, 4, 4, generator=generator)
    return latents, noise, torch.tensor([0, 1, 2]), torch.tensor([1.0, 0.64, 0.0])


def test_no_noise_remains_where_the_signal_rate_is_one_and_only_noise_where_it_is_zero(batch):
    latents, noise, timesteps, alphas_cumprod = batch
    noisy = add_noise(latents, noise, timesteps, alphas_cumprod)
    assert torch.equal(noisy[0], latents[0])
    torch.testing.assert_close(noisy[1], 0.8 * latents[1] + 0.6 * noise[1])
    assert torch.equal(noisy[2], noise[2])


def test_the_schedulers_of_diffusers_agree(batch):
    from diffusers import DDPMScheduler

    latents, noise, _, _ = batch
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    timesteps = torch.tensor([0, 500, 999])
    schedule = scheduler.alphas_cumprod
    torch.testing.assert_close(
        add_noise(latents, noise, timesteps, schedule), scheduler.add_noise(latents, noise, timesteps)
    )
    torch.testing.assert_close(
        denoising_target(latents, noise, timesteps, schedule, "v_prediction"),
        scheduler.get_velocity(latents, noise, timesteps),
    )


def test_epsilon_target_is_the_noise_and_v_and_noisy_latents_give_it_back(batch):
    latents, noise, timesteps, alphas_cumprod = batch
    assert denoising_target(latents, noise, timesteps, alphas_cumprod, "epsilon") is noise
    velocity = denoising_target(latents, noise, timesteps, alphas_cumprod, "v_prediction")
    noisy = add_noise(latents, noise, timesteps, alphas_cumprod)
    # epsilon = sqrt(1 - abar) x_t + sqrt(abar) v, at abar = 0.64
    torch.testing.assert_close(0.6 * noisy[1] + 0.8 * velocity[1], noise[1])


def test_unknown_prediction_type_is_named(batch):
    with pytest.raises(ConfigError, match="prediction_type must be one of epsilon, v_prediction, got 'sample'"):
        denoising_target(*batch, "sample")


def test_loss_is_the_mean_square_in_float32_whatever_the_precision():
    prediction = torch.full((2, 1, 2, 2), 3.0, dtype=torch.bfloat16)
    loss = DenoisingLoss()(prediction, torch.ones(2, 1, 2, 2))
    assert loss.dtype == torch.float32
    assert loss.item() == 4.0
