# SPDX-License-Identifier: Apache-2.0
"""Denoising loss on images that are not trained on, with the same noise and timesteps every time."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from medti_components.data.latent_cache import LatentCache
from medti_components.engines.denoising_batches import DenoisingBatch, stratified_timesteps
from medti_components.errors import DataError
from medti_components.losses.denoising_loss import add_noise, denoising_target
from medti_components.random_streams import random_stream

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


class HeldOutLoss:
    """The deterministic validation loss of Voronov et al., 2023 (arXiv:2302.04841), per concept.

    Every held-out image is seen ``draws_per_case`` times, each time with noise and a timestep of its own; the timesteps
    of all draws together fill [0, T) evenly. They depend on ``seed`` alone, not on the run's, so that runs compare.

    As the ``iteration_update`` of MONAI's SupervisedEvaluator, whose network is a ``ConceptEmbeddings`` and whose data
    are the tokens, it puts ``held_out_loss <token>`` among the evaluator's metrics.

    Args:
        model: the frozen base model.
        latents: the held-out images, encoded; their means are used.
        draws_per_case: noise draws per image.
        batch_size: samples per call of the model.
        seed: of noise and timesteps.
    """

    def __init__(
        self,
        model: "FrozenLatentDiffusion",
        latents: LatentCache,
        draws_per_case: int = 8,
        batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.latents = latents
        self.draws_per_case = draws_per_case
        self.batch_size = batch_size
        self.seed = seed

    def __call__(self, engine: Any, token: str) -> dict[str, float]:
        """Evaluate the engine's rows of ``token``; return {"loss": value}."""
        loss = self.of_rows(token, engine.network[token].rows)
        engine.state.metrics[f"held_out_loss {token}"] = loss
        return {"loss": loss}

    @property
    def concepts(self) -> tuple[str, ...]:
        """The tokens that have held-out images."""
        return self.latents.concepts

    def of_rows(self, token: str, rows: Tensor) -> float:
        """Loss on the held-out images of ``token`` when ``rows`` (n, width) are the prompt."""
        with torch.no_grad():
            return self.of_condition(token, self.model.condition_from_rows(rows.detach()))

    def of_empty_prompt(self, token: str) -> float:
        """Loss on the held-out images of ``token`` under the empty prompt: what the base knows without a word."""
        with torch.no_grad():
            return self.of_condition(token, self.model.condition_from_prompt("", {}))

    @torch.no_grad()
    def of_condition(self, token: str, condition: Tensor) -> float:
        """Mean squared error per latent element on the held-out images of ``token`` under ``condition`` (1, 77, width).

        Raises:
            DataError: the concept has no held-out image.
        """
        if self.latents.num_cases(token) == 0:
            raise DataError(f"no held-out image for '{token}': set num_validation_cases to 1 or more")
        squared_error, num_elements = 0.0, 0
        for batch in self._batches(token):
            prediction = self.model.predict(batch.noisy_latents, batch.timesteps, condition)
            squared_error += (prediction.float() - batch.target).square().sum(dtype=torch.float64).item()
            num_elements += batch.target.numel()
        return squared_error / num_elements

    def _batches(self, token: str) -> list[DenoisingBatch]:
        mean = self.latents.mean[token]
        generator = random_stream(self.seed, token, "held out")
        num_samples = len(mean) * self.draws_per_case
        alphas_cumprod = self.model.alphas_cumprod.to(mean.device)
        timesteps = stratified_timesteps(num_samples, len(alphas_cumprod), generator)
        timesteps = timesteps[torch.randperm(num_samples, generator=generator)].to(mean.device)
        noise = torch.randn(num_samples, *mean.shape[1:], generator=generator).to(mean.device)
        latents = mean.repeat_interleave(self.draws_per_case, dim=0)
        noisy = add_noise(latents, noise, timesteps, alphas_cumprod)
        target = denoising_target(latents, noise, timesteps, alphas_cumprod, self.model.prediction_type)
        parts = zip(*(whole.split(self.batch_size) for whole in (noisy, timesteps, target)), strict=True)
        return [DenoisingBatch(*part) for part in parts]
