# SPDX-License-Identifier: Apache-2.0
"""The loss of a denoising diffusion model that predicts the noise (epsilon) or the velocity (v)."""

import torch
from torch import Tensor, nn

from medti_components.errors import ConfigError

PREDICTION_TYPES = ("epsilon", "v_prediction")


def _signal_and_noise_rates(alphas_cumprod: Tensor, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    alpha_bar = alphas_cumprod.to(like.device)[timesteps.to(like.device)].to(torch.float32)
    alpha_bar = alpha_bar.reshape(-1, *(1,) * (like.ndim - 1))
    return alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt()


def add_noise(latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Diffuse clean latents to a timestep: ``x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise`` (DDPM, eq. 4).

    Args:
        latents: clean latents (B, C, h, w), scaled.
        noise: standard normal noise of the same shape.
        timesteps: integers (B,) in [0, T).
        alphas_cumprod: cumulative products of 1 - beta, (T,).

    Returns:
        Noisy latents (B, C, h, w).

    >>> x, noise = torch.full((1, 1, 1, 1), 2.0), torch.ones(1, 1, 1, 1)
    >>> add_noise(x, noise, torch.tensor([0]), torch.tensor([0.25])).item()  # 0.5 * 2 + sqrt(0.75) * 1
    1.86602...
    """
    signal, sigma = _signal_and_noise_rates(alphas_cumprod, timesteps, latents)
    return signal * latents + sigma * noise


def denoising_target(
    latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor, prediction_type: str
) -> Tensor:
    """Return what the model should predict: the noise, or ``v = sqrt(abar_t) noise - sqrt(1 - abar_t) x_0``.

    v is defined in Salimans & Ho, 2022, appendix D. Shapes as in :func:`add_noise`.

    Raises:
        ConfigError: ``prediction_type`` is neither 'epsilon' nor 'v_prediction'.

    >>> x, noise = torch.full((1, 1, 1, 1), 2.0), torch.ones(1, 1, 1, 1)
    >>> denoising_target(x, noise, torch.tensor([0]), torch.tensor([0.25]), "epsilon").item()
    1.0
    >>> denoising_target(x, noise, torch.tensor([0]), torch.tensor([0.25]), "v_prediction").item()
    -1.23205...
    """
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "v_prediction":
        signal, sigma = _signal_and_noise_rates(alphas_cumprod, timesteps, latents)
        return signal * noise - sigma * latents
    raise ConfigError(f"prediction_type must be one of {', '.join(PREDICTION_TYPES)}, got '{prediction_type}'")


class DenoisingLoss(nn.Module):
    """Mean squared error between prediction and target, taken in float32 whatever the model's precision.

    >>> DenoisingLoss()(torch.zeros(2, 1, 1, 1), torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)).item()
    5.0
    """

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the scalar mean of squared differences of two tensors (B, C, h, w)."""
        return nn.functional.mse_loss(prediction.float(), target.float())
