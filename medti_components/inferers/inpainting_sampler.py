# SPDX-License-Identifier: Apache-2.0
"""Sampling latents of which a part is known."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from medti_components.errors import ConfigError
from medti_components.inferers.inpainting_canvas import InpaintingCanvas
from medti_components.inferers.latent_sampler import Condition, LatentSampler
from medti_components.random_streams import random_stream

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

FILLS = ("original", "noise", "zeros", "blurred")


class InpaintingSampler(LatentSampler):
    """Draws latents that agree with an image outside its mask; it takes the place of a :class:`LatentSampler`.

    1. Within the mask, the image's latents are filled as ``fill`` says.
    2. They get the noise of the step at which ``strength`` begins. A strength of 1 begins with noise alone, as plain
       generation of the same seed does.
    3. In each step, whatever the scheduler, the denoised latents x0 are replaced by the known ones outside the mask:
       ``mask * x0 + (1 - mask) * known``. At the end the same is done to the latents.

    Args:
        sampler: gives scheduler, number of steps and guidance.
        canvas: image and mask.
        strength: share of the schedule that is run, see :func:`num_steps_run`.
        fill: what is in the mask at the beginning: 'original', 'blurred' (colours of the surroundings), 'noise' (unit
            noise of each image's own seed) or 'zeros' (latents).

    Raises:
        ConfigError: strength or fill does not fit.
    """

    def __init__(
        self, sampler: LatentSampler, canvas: InpaintingCanvas, strength: float = 0.75, fill: str = "original"
    ) -> None:
        vars(self).update(vars(sampler))  # checked when it was made
        if fill not in FILLS:
            raise ConfigError(f"fill must be one of {', '.join(FILLS)}, got {fill!r}: correct --fill")
        self.canvas = canvas
        self.strength = float(strength)
        self.fill = fill
        self.num_steps_run = num_steps_run(strength, self.num_inference_steps)
        self.first_step = self.num_inference_steps - self.num_steps_run
        self._known: tuple[Tensor, Tensor] | None = None

    def num_calls(self, model: "FrozenLatentDiffusion", first_step: int | None = None) -> int:
        """Return how often one batch calls the UNet."""
        return super().num_calls(model, self.first_step if first_step is None else first_step)

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self,
        model: "FrozenLatentDiffusion",
        condition: Condition | Sequence[Condition],
        unconditional: Condition,
        seeds: Sequence[int],
        weights: Sequence[float | Tensor] | None = None,
        progress: "tqdm[Any] | None" = None,
    ) -> Tensor:
        """Draw one latent per seed, (B, C, h, w); arguments are those of :class:`LatentSampler`.

        Raises:
            ConfigError: the mask is too small, or there are more steps than the model has timesteps.
        """
        known, mask = self.known_latents(model)
        start = torch.where(mask, self._filling(known, seeds), known)
        latents = super().__call__(
            model,
            condition,
            unconditional,
            seeds,
            weights,
            progress,
            first_step=self.first_step,
            start=start if self.first_step else None,
            revise=lambda denoised: torch.where(mask, denoised, known),
        )
        return torch.where(mask, latents, known)

    @torch.no_grad()
    def known_latents(self, model: "FrozenLatentDiffusion") -> tuple[Tensor, Tensor]:
        """Return the image's latents (1, C, h, w), and which of them are painted, bool (1, 1, h, w)."""
        if self._known is None:
            mask = self.canvas.latent_mask((model.latent_shape[1], model.latent_shape[2]))
            image = (self.canvas.filled_image if self.fill == "blurred" else self.canvas.image)(model.image_size)
            self._known = model.encode(image[None])[0], mask[None, None].to(model.device)
        return self._known

    def _filling(self, known: Tensor, seeds: Sequence[int]) -> Tensor:
        if self.fill == "noise":
            streams = [random_stream(seed, "inpainting fill") for seed in seeds]
            return torch.stack([torch.randn(known.shape[1:], generator=stream) for stream in streams]).to(known)
        return torch.zeros_like(known) if self.fill == "zeros" else known


def num_steps_run(strength: float, num_inference_steps: int) -> int:
    """Return how many steps at the end of the schedule are run: ``int(min(strength, 0.999) * num_inference_steps)``.

    A strength of 1 leaves nothing of the image within the mask: all steps are run, from noise alone.

    Raises:
        ConfigError: the strength is not above 0 and at most 1, or no step is run.

    >>> num_steps_run(0.75, 100), num_steps_run(0.5, 25), num_steps_run(0.9999, 100), num_steps_run(1.0, 100)
    (75, 12, 99, 100)
    """
    if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not 0.0 < strength <= 1.0:
        raise ConfigError(f"strength must be above 0 and at most 1, got {strength!r}: correct --strength")
    if strength == 1.0:
        return num_inference_steps
    steps = int(min(strength, 0.999) * num_inference_steps)
    if steps == 0:
        raise ConfigError(
            f"strength {strength} of num_inference_steps {num_inference_steps} must run a step, it runs none: "
            "raise --strength or --num_inference_steps"
        )
    return steps
