# SPDX-License-Identifier: Apache-2.0
"""What each concept sees in each step, as a pure function of (seed, concept, step)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medti_components.data.latent_cache import LatentCache
from medti_components.errors import ConfigError, DataError
from medti_components.losses.denoising_loss import add_noise, denoising_target
from medti_components.random_streams import random_stream

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def stratified_timesteps(num_samples: int, num_timesteps: int, generator: torch.Generator) -> Tensor:
    """Draw one timestep from each of ``num_samples`` equal parts of [0, num_timesteps), uniform within its part.

    A sample picked at random from the batch is uniform over all timesteps, as is a batch of one; the spread of the loss
    over timesteps no longer adds to the gradient's noise (stratified sampling).

    Returns:
        int64 (num_samples,), ascending.

    >>> t = stratified_timesteps(4, 1000, torch.Generator().manual_seed(0))
    >>> (t // 250).tolist()
    [0, 1, 2, 3]
    """
    offsets = torch.rand(num_samples, generator=generator, dtype=torch.float64)
    positions = (torch.arange(num_samples, dtype=torch.float64) + offsets) / num_samples
    return (positions * num_timesteps).long().clamp_(max=num_timesteps - 1)


@dataclass(frozen=True)
class DenoisingBatch:
    """One batch of one concept, on the device.

    Attributes:
        noisy_latents: (B, C, h, w).
        timesteps: int64 (B,).
        target: what the model should predict, (B, C, h, w).
    """

    noisy_latents: Tensor
    timesteps: Tensor
    target: Tensor

    def split(self, num_parts: int) -> list["DenoisingBatch"]:
        """Cut the batch into equal parts, for accumulation."""
        if num_parts == 1:
            return [self]
        fields = (self.noisy_latents, self.timesteps, self.target)
        return [DenoisingBatch(*part) for part in zip(*(field.chunk(num_parts) for field in fields), strict=True)]


class DenoisingBatches:
    """Draws the batch of a concept in a step; the trainer's ``prepare_batch``.

    Cases are visited in a new order in every epoch of the concept, whatever the batch size, so that a batch larger than
    the number of cases holds some twice. Everything is drawn on the CPU from streams of (seed, token, epoch) and
    (seed, token, step): nothing needs to be stored for resuming, and no concept sees whether others are trained too.

    Args:
        latents: the encoded images.
        model: gives the noise schedule and what is predicted.
        batch_size: samples per concept and backward pass.
        accumulation_steps: backward passes per optimiser step; a step sees ``batch_size * accumulation_steps`` samples.
        seed: the run's seed.
        sample_posterior: draw latents anew from their distribution in every step, or use the mean.

    Raises:
        ConfigError: batch_size or accumulation_steps is not a positive integer.
    """

    def __init__(
        self,
        latents: LatentCache,
        model: "FrozenLatentDiffusion",
        batch_size: int = 1,
        accumulation_steps: int = 1,
        seed: int = 0,
        sample_posterior: bool = True,
    ) -> None:
        for key, value in (("batch_size", batch_size), ("accumulation_steps", accumulation_steps)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{key} must be a positive integer, got {value!r}")
        self.latents = latents
        self.num_samples = batch_size * accumulation_steps
        self.seed = seed
        self.sample_posterior = sample_posterior
        self.prediction_type = model.prediction_type
        self.alphas_cumprod = model.alphas_cumprod.to(model.device)
        self._orders: dict[str, dict[int, Tensor]] = {token: {} for token in latents.concepts}

    def __call__(
        self, batchdata: tuple[str, int], device: torch.device | str | None = None, non_blocking: bool = False
    ) -> DenoisingBatch:
        """Return the batch of ``batchdata`` = (token, step), step counted from 0."""
        token, step = batchdata
        mean = self.latents.mean[token]
        device = mean.device if device is None else torch.device(device)
        is_pinned = device.type == "cuda"

        generator = random_stream(self.seed, token, "step", step)
        num_timesteps = len(self.alphas_cumprod)
        drawn = [
            self._case_indices(token, step),
            stratified_timesteps(self.num_samples, num_timesteps, generator),
            torch.randn(self.num_samples, *mean.shape[1:], generator=generator),
        ]
        if self.sample_posterior:
            drawn.append(torch.randn(self.num_samples, *mean.shape[1:], generator=generator))
        if is_pinned:
            drawn = [values.pin_memory() for values in drawn]
        indices, timesteps, noise, *posterior = (values.to(device, non_blocking=is_pinned) for values in drawn)

        latents = mean.to(device)[indices]
        if posterior:
            latents = torch.addcmul(latents, self.latents.std[token].to(device)[indices], posterior[0])
        target = denoising_target(latents, noise, timesteps, self.alphas_cumprod, self.prediction_type)
        return DenoisingBatch(add_noise(latents, noise, timesteps, self.alphas_cumprod), timesteps, target)

    def _case_indices(self, token: str, step: int) -> Tensor:
        num_cases = self.latents.num_cases(token)
        if num_cases == 0:
            raise DataError(f"no image for '{token}': check dataset_dir, concepts and num_cases")
        positions = range(step * self.num_samples, (step + 1) * self.num_samples)
        return torch.stack([self._order(token, at // num_cases)[at % num_cases] for at in positions])

    def _order(self, token: str, epoch: int) -> Tensor:
        orders = self._orders[token]  # of one concept alone: concepts are prepared in threads of their own
        if epoch not in orders:
            for old in [old for old in orders if old < epoch - 1]:
                del orders[old]
            generator = random_stream(self.seed, token, "epoch", epoch)
            orders[epoch] = torch.randperm(self.latents.num_cases(token), generator=generator)
        return orders[epoch]
