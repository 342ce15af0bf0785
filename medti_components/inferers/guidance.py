# SPDX-License-Identifier: Apache-2.0
"""Classifier-free guidance for one or several conditions, in one call of the UNet a step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def compose_guidance(
    unconditional: Tensor, conditionals: Sequence[Tensor], weights: Sequence[float], guidance_scale: float
) -> Tensor:
    """Combine predictions: ``e = e_u + sum_i w_i * g * (e_i - e_u)``.

    It is affine, so that it holds for predictions of epsilon, v and x0 alike. With one condition of weight 1 it is
    ordinary guidance (Ho & Salimans, 2022); with several it composes them (Liu et al., 2022, arXiv:2206.01714), a
    negative weight being a negation.

    Args:
        unconditional: prediction e_u under the negative prompt, (B, C, h, w).
        conditionals: predictions e_i, each (B, C, h, w).
        weights: w_i, one a condition.
        guidance_scale: g.

    Returns:
        The guided prediction (B, C, h, w).

    Raises:
        ValueError: there are not as many weights as conditionals.

    >>> e_u, e_1, e_2 = torch.tensor(1.0), torch.tensor(3.0), torch.tensor(0.0)
    >>> compose_guidance(e_u, [e_1, e_2], [1.0, 0.5], guidance_scale=2.0).item()  # 1 + 2 * 2 - 1 * 1
    4.0
    """
    if len(weights) != len(conditionals):
        raise ValueError(f"weights must have shape ({len(conditionals)},), one per condition, got ({len(weights)},)")
    total = guidance_scale * sum(weights)
    guided = (1.0 - total) * unconditional if total != 1.0 else torch.zeros_like(unconditional)
    for weight, conditional in zip(weights, conditionals, strict=True):
        guided = guided + (weight * guidance_scale) * conditional
    return guided


class GuidedPrediction:
    """The frozen model under fixed conditions: calls give the guided prediction, by one UNet call each.

    Keys and values of the conditions are projected once, when the object is made. The unconditional prediction is left
    out where it cancels (guidance times the sum of weights is 1), and so are conditions of weight 0.

    Args:
        model: the frozen base model.
        conditionals: text conditions, each (1 or B, positions, width).
        weights: one a condition.
        unconditional: condition of the negative prompt, (1, positions, width).
        guidance_scale: see :func:`compose_guidance`.
        batch_size: B, the number of latents in a call.

    Raises:
        ValueError: there are not as many weights as conditionals.
    """

    def __init__(
        self,
        model: "FrozenLatentDiffusion",
        conditionals: Sequence[Tensor],
        weights: Sequence[float],
        unconditional: Tensor,
        guidance_scale: float,
        batch_size: int,
    ) -> None:
        self.model = model
        self.guidance_scale = guidance_scale
        used = [(condition, weight) for condition, weight in zip(conditionals, weights, strict=True) if weight != 0]
        self.weights = [weight for _, weight in used]
        self.needs_unconditional = abs(guidance_scale * sum(self.weights) - 1.0) > 1e-9
        conditions = [unconditional] * self.needs_unconditional + [condition for condition, _ in used]
        self.num_predictions = len(conditions)
        if any(len(condition) > 1 for condition in conditions):
            conditions = [condition.expand(batch_size, -1, -1) for condition in conditions]
        self.projected = model.project_condition(torch.cat(conditions))

    def __call__(self, latents: Tensor, timestep: Tensor) -> Tensor:
        """Return the guided prediction (B, C, h, w) for latents (B, C, h, w) that share one timestep."""
        repeated = latents.repeat(self.num_predictions, 1, 1, 1)
        predictions = list(self.model.predict(repeated, timestep, self.projected).chunk(self.num_predictions))
        unconditional = predictions.pop(0) if self.needs_unconditional else torch.zeros_like(latents)
        return compose_guidance(unconditional, predictions, self.weights, self.guidance_scale)
