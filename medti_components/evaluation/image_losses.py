# SPDX-License-Identifier: Apache-2.0
"""Denoising loss of single images, every one under the same noise and timesteps."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from medti_components.engines.denoising_batches import stratified_timesteps
from medti_components.losses.denoising_loss import add_noise, denoising_target
from medti_components.random_streams import random_stream

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


class ImageLosses:
    """Mean squared error per latent element of each image, over the same draws of noise and timestep for all.

    As all images share the draws, a difference between two of them is not one of luck. The timesteps of the draws fill
    [0, T) evenly; they and the noise depend on ``seed`` alone.

    Args:
        model: the frozen base model.
        num_draws: draws of noise and timestep.
        batch_size: images per call of the model.
        seed: of the draws.
        show_progress: whether a bar with the time left goes to stderr.
    """

    def __init__(
        self,
        model: "FrozenLatentDiffusion",
        num_draws: int = 16,
        batch_size: int = 32,
        seed: int = 0,
        show_progress: bool = True,
    ) -> None:
        self.model = model
        self.num_draws = num_draws
        self.batch_size = batch_size
        self.seed = seed
        self.show_progress = show_progress

    @torch.no_grad()
    def __call__(self, latents: Tensor, condition: Tensor, description: str = "denoising") -> Tensor:
        """Return the loss of each of ``latents`` (n, C, h, w) under ``condition`` (1, 77, width), float64 (n,)."""
        generator = random_stream(self.seed, "image losses", self.num_draws)
        alphas_cumprod = self.model.alphas_cumprod.to(latents.device)
        timesteps = stratified_timesteps(self.num_draws, len(alphas_cumprod), generator)
        noises = torch.randn(self.num_draws, *latents.shape[1:], generator=generator)
        total = torch.zeros(len(latents), dtype=torch.float64)
        draws = zip(timesteps, noises, strict=True)
        hidden = not self.show_progress
        for timestep, noise in tqdm(draws, desc=description, total=self.num_draws, unit="draw", disable=hidden):
            for start in range(0, len(latents), self.batch_size):
                part = latents[start : start + self.batch_size]
                times = timestep.to(part.device).expand(len(part))
                own_noise = noise.to(part.device).expand_as(part)
                noisy = add_noise(part, own_noise, times, alphas_cumprod)
                target = denoising_target(part, own_noise, times, alphas_cumprod, self.model.prediction_type)
                error = (self.model.predict(noisy, times, condition).float() - target).square().mean(dim=(1, 2, 3))
                total[start : start + len(part)] += error.double().cpu()
        return total / self.num_draws
