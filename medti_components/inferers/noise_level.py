# SPDX-License-Identifier: Apache-2.0
"""Where a scheduler of diffusers stands at a step, so that its sample can be read as signal and noise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class NoiseLevel:
    """What a scheduler's sample is made of: ``sample = scale * (signal * x0 + noise * epsilon)``.

    ``signal**2 + noise**2 = 1``. Most schedulers keep that sample (``scale`` 1); those of k-diffusion keep
    ``x0 + sigma * epsilon``, so that ``signal = 1 / sqrt(1 + sigma**2)`` and ``scale = 1 / signal``, and scale it only
    as the model's input.

    >>> level = NoiseLevel.of_sigma(0.75, is_scaled=True)
    >>> round(level.signal, 5), round(level.noise, 5), round(level.scale, 5)
    (0.8, 0.6, 1.25)
    """

    signal: float
    noise: float
    scale: float = 1.0

    @classmethod
    def of_sigma(cls, sigma: float, is_scaled: bool) -> "NoiseLevel":
        """Return the level of ``sigma = noise / signal``; ``is_scaled`` for the samples of k-diffusion."""
        signal = 1.0 / (1.0 + sigma**2) ** 0.5
        return cls(signal, sigma * signal, 1.0 / signal if is_scaled else 1.0)

    @classmethod
    def of_scheduler(cls, scheduler: Any, index: int, timestep: Tensor) -> "NoiseLevel":
        """Return the level that ``scheduler.step`` takes the sample to have.

        Args:
            scheduler: one of ``SCHEDULERS``, its timesteps set.
            index: of the timestep among the scheduler's.
            timestep: the timestep itself.
        """
        if not hasattr(scheduler, "sigmas"):
            alpha = float(scheduler.alphas_cumprod[int(timestep)])
            return cls(alpha**0.5, (1.0 - alpha) ** 0.5)
        sigma = scheduler.sigmas[index]
        if hasattr(scheduler, "sigmas_interpol") and not scheduler.state_in_first_order:
            # the second half of a step of KDPM2; the ancestral one stores its values one place earlier
            sigma = scheduler.sigmas_interpol[index - hasattr(scheduler, "sigmas_up")]
        return cls.of_sigma(float(sigma), is_scaled=float(scheduler.init_noise_sigma) != 1.0)

    def noised(self, denoised: Tensor, noise: Tensor) -> Tensor:
        """Return the sample of this level made of ``denoised`` (x0) and unit ``noise``, all of one shape."""
        return self.scale * (self.signal * denoised + self.noise * noise)

    def denoised(self, prediction: Tensor, sample: Tensor, prediction_type: str) -> Tensor:
        """Return x0 of a prediction of 'epsilon' or v ('v_prediction') for ``sample``, all of one shape.

        >>> import torch
        >>> level, x0, epsilon = NoiseLevel.of_sigma(0.75, is_scaled=True), torch.tensor(2.0), torch.tensor(-1.0)
        >>> round(float(level.denoised(epsilon, level.noised(x0, epsilon), "epsilon")), 5)
        2.0
        """
        latents = sample / self.scale
        if prediction_type == "epsilon":
            return (latents - self.noise * prediction) / self.signal
        return self.signal * latents - self.noise * prediction

    def prediction(self, denoised: Tensor, sample: Tensor, prediction_type: str) -> Tensor:
        """Return the prediction of which :meth:`denoised` gives ``denoised``."""
        latents = sample / self.scale
        if prediction_type == "epsilon":
            return (latents - self.signal * denoised) / self.noise
        return (self.signal * latents - denoised) / self.noise

    def revised(
        self, prediction: Tensor, sample: Tensor, prediction_type: str, revise: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return the prediction after ``revise`` has changed the x0 that it stands for."""
        denoised = revise(self.denoised(prediction, sample, prediction_type))
        return self.prediction(denoised, sample, prediction_type)
