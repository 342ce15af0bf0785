# SPDX-License-Identifier: Apache-2.0
"""Sampling latents by any of diffusers' schedulers, each image from a random stream of its own."""

import difflib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import diffusers
import torch
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers
from torch import Tensor
from tqdm import tqdm

from medti_components.errors import ConfigError
from medti_components.inferers.guidance import GuidedPrediction
from medti_components.inferers.noise_level import NoiseLevel
from medti_components.networks.shared_condition_attention import ProjectedCondition

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

Condition: TypeAlias = Tensor | ProjectedCondition

DEFAULT_SCHEDULER = "EulerAncestralDiscreteScheduler"
# the first draws its noise for a whole batch at once, the second is for models of another kind
UNFIT_SCHEDULERS = {"DPMSolverSDEScheduler", "EDMEulerScheduler"}
SCHEDULERS = tuple(sorted({scheduler.name for scheduler in KarrasDiffusionSchedulers} - UNFIT_SCHEDULERS))


def scheduler_for(name: str, model_config: Mapping[str, Any]) -> Any:
    """Make a scheduler of diffusers for a base model.

    The noise schedule and the prediction type are the model's; timesteps are spaced evenly from the last to the first
    ('linspace', as in k-diffusion) for every scheduler; samples are not clipped.

    Args:
        name: class name, one of ``SCHEDULERS``.
        model_config: the base model's scheduler configuration.

    Raises:
        ConfigError: the name is unknown; the nearest is named.

    >>> type(scheduler_for("EulerDiscreteScheduler", {"beta_schedule": "scaled_linear"})).__name__
    'EulerDiscreteScheduler'
    """
    if name not in SCHEDULERS:
        near = difflib.get_close_matches(str(name), SCHEDULERS, n=1, cutoff=0.3)
        remedy = f"did you mean '{near[0]}'?" if near else f"choose one of {', '.join(SCHEDULERS)}"
        raise ConfigError(f"scheduler must be the class name of one of diffusers' schedulers, got '{name}': {remedy}")
    scheduler_class = getattr(diffusers, name)
    taken = inspect.signature(scheduler_class.__init__).parameters
    schedule = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type")
    others = ("rescale_betas_zero_snr", "skip_prk_steps", "set_alpha_to_one", "steps_offset")
    settings = {key: model_config[key] for key in (*schedule, *others) if key in model_config and key in taken}
    fixed = {"timestep_spacing": "linspace", "clip_sample": False}
    return scheduler_class(**settings, **{key: value for key, value in fixed.items() if key in taken})


def _checked_interval(interval: Sequence[float]) -> tuple[float, float]:
    values = list(interval) if isinstance(interval, Sequence) and not isinstance(interval, str) else []
    are_numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    if len(values) != 2 or not are_numbers or not 0 <= values[0] < values[1]:
        raise ConfigError(
            f"guidance_interval must be two noise levels, the lower one of at least 0 first, or null, got {interval!r}"
        )
    return float(values[0]), float(values[1])


class LatentSampler:
    """Draws latents under text conditions.

    Image i is a function of its own seed (and of the settings) alone: its noise comes from a generator seeded by it,
    whatever else is in the batch.

    Args:
        scheduler: class name of one of diffusers' schedulers.
        num_inference_steps: number of steps, at most the number of timesteps the model was trained with.
        guidance_scale: classifier-free guidance; 1 needs no unconditional prediction.
        absolute_weights: take weights of composed conditions as they are, without multiplying them by guidance_scale.
        guidance_interval: lowest and highest noise level at which guidance applies, see ``GuidedPrediction``.

    Raises:
        ConfigError: a setting does not fit.

    >>> LatentSampler(num_inference_steps=0)
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: num_inference_steps must be a whole number of at least 1, got 0
    """

    def __init__(
        self,
        scheduler: str = DEFAULT_SCHEDULER,
        num_inference_steps: int = 100,
        guidance_scale: float = 2.0,
        absolute_weights: bool = False,
        guidance_interval: Sequence[float] | None = None,
    ) -> None:
        scheduler_for(scheduler, {})
        if isinstance(num_inference_steps, bool) or not isinstance(num_inference_steps, int) or num_inference_steps < 1:
            raise ConfigError(f"num_inference_steps must be a whole number of at least 1, got {num_inference_steps}")
        if isinstance(guidance_scale, bool) or not isinstance(guidance_scale, (int, float)):
            raise ConfigError(f"guidance_scale must be a number, got {guidance_scale!r}")
        if not (math.isfinite(guidance_scale) and guidance_scale >= 0):
            raise ConfigError(f"guidance_scale must be at least 0, got {guidance_scale}")
        self.scheduler = scheduler
        self.num_inference_steps = num_inference_steps
        self.guidance_scale = float(guidance_scale)
        self.absolute_weights = absolute_weights
        self.guidance_interval = None if guidance_interval is None else _checked_interval(guidance_interval)
        if absolute_weights and guidance_interval is not None:
            raise ConfigError("guidance_interval must be null with absolute_weights: outside it they have no meaning")

    def num_calls(self, model: "FrozenLatentDiffusion", first_step: int = 0) -> int:
        """Return how often one batch calls the UNet; schedulers of second order do so about twice per step."""
        return len(_timesteps_from(self._prepared_scheduler(model, first_step), first_step))

    @torch.no_grad()
    def __call__(
        self,
        model: "FrozenLatentDiffusion",
        condition: Condition | Sequence[Condition],
        unconditional: Condition,
        seeds: Sequence[int],
        weights: Sequence[float | Tensor] | None = None,
        progress: "tqdm[Any] | None" = None,
        first_step: int = 0,
        start: Tensor | None = None,
        revise: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Draw one latent per seed.

        Args:
            model: the frozen base model.
            condition: (1 or B, positions, width), plain or projected, or several such to be composed.
            unconditional: condition of the negative prompt, (1, positions, width).
            seeds: B seeds, one per image.
            weights: one per condition, or (B,) for each; 1 by default.
            progress: bar to move on by one at each call of the UNet.
            first_step: number of steps at the beginning of the schedule that are left out.
            start: latents (1 or B, C, h, w) that get the noise of the first step; None begins with noise alone.
            revise: changes the denoised latents x0 (B, C, h, w) that each prediction stands for.

        Returns:
            Latents (B, C, h, w), float32.

        Raises:
            ConfigError: there are more steps than the model has timesteps.
        """
        conditionals = list(condition) if isinstance(condition, Sequence) else [condition]
        weights = [1.0] * len(conditionals) if weights is None else weights
        guided = GuidedPrediction(
            model,
            conditionals,
            weights,
            unconditional,
            1.0 if self.absolute_weights else self.guidance_scale,
            batch_size=len(seeds),
            guidance_interval=self.guidance_interval,
        )
        scheduler = self._prepared_scheduler(model, first_step)
        timesteps = _timesteps_from(scheduler, first_step)
        begin = first_step * scheduler.order
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = torch.stack([torch.randn(model.latent_shape, generator=generator) for generator in generators])
        latents = noise.to(model.device) * scheduler.init_noise_sigma
        if start is not None:
            level = NoiseLevel.of_scheduler(scheduler, begin, timesteps[0])
            latents = level.noised(start.to(model.device), noise.to(model.device))
        taken = inspect.signature(scheduler.step).parameters
        settings: dict[str, Any] = {"generator": generators} if "generator" in taken else {}
        for index, timestep in enumerate(timesteps, begin):
            prediction = guided(scheduler.scale_model_input(latents, timestep), timestep)
            if revise is not None:
                level = NoiseLevel.of_scheduler(scheduler, index, timestep)
                prediction = level.revised(prediction, latents, model.prediction_type, revise)
            if "order" in taken:  # LMS would count the steps left out among those it has seen
                settings["order"] = min(taken["order"].default, index - begin + 1)
            latents = scheduler.step(prediction, timestep, latents, return_dict=False, **settings)[0]
            if progress is not None:
                progress.update()
        return latents

    def _prepared_scheduler(self, model: "FrozenLatentDiffusion", first_step: int = 0) -> Any:
        if self.num_inference_steps > len(model.alphas_cumprod):
            raise ConfigError(
                f"num_inference_steps must be at most {len(model.alphas_cumprod)}, the number of timesteps of "
                f"'{model.name}', got {self.num_inference_steps}"
            )
        scheduler = scheduler_for(self.scheduler, model.scheduler_config)
        if first_step and "skip_prk_steps" in scheduler.config:
            scheduler.register_to_config(skip_prk_steps=True)  # PNDM's Runge-Kutta beginning is of the first steps
        scheduler.set_timesteps(self.num_inference_steps, device=model.device)
        if first_step and hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first_step * scheduler.order)
        return scheduler


def _timesteps_from(scheduler: Any, first_step: int) -> Tensor:
    """Return the timesteps at which the model is called when the first ones are left out."""
    if not first_step:
        return scheduler.timesteps
    if hasattr(scheduler, "plms_timesteps"):  # PNDM goes to its second timestep twice
        distinct = torch.unique(scheduler.timesteps).flip(0)[first_step:]
        return torch.cat([distinct[:2], distinct[1:]])
    return scheduler.timesteps[first_step * scheduler.order :]
