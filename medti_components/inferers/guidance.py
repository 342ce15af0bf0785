# SPDX-License-Identifier: Apache-2.0
"""Classifier-free guidance for one or several conditions, in one call of the UNet per step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medti_components.networks.shared_condition_attention import ProjectedCondition

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def compose_guidance(
    unconditional: Tensor, conditionals: Sequence[Tensor], weights: Sequence[float | Tensor], guidance_scale: float
) -> Tensor:
    """Combine predictions: ``e = e_u + sum_i w_i * g * (e_i - e_u)``.

    It is affine, so that it holds for predictions of epsilon, v and x0 alike. With one condition of weight 1 it is
    ordinary guidance (Ho & Salimans, 2022); with several it composes them (Liu et al., 2022, arXiv:2206.01714), a
    negative weight being a negation.

    Args:
        unconditional: prediction e_u under the negative prompt, (B, C, h, w).
        conditionals: predictions e_i, each (B, C, h, w).
        weights: w_i, one per condition: a number, or (B,) numbers, one per image.
        guidance_scale: g; 1 where the weights are absolute, W_i = w_i * g, as in the authors' code.

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
    factors = [guidance_scale * _by_image(weight, unconditional) for weight in weights]
    total = sum(factors)
    is_cancelled = not isinstance(total, Tensor) and total == 1.0
    guided = torch.zeros_like(unconditional) if is_cancelled else (1.0 - total) * unconditional
    for factor, conditional in zip(factors, conditionals, strict=True):
        guided = guided + factor * conditional
    return guided


def _by_image(weight: float | Tensor, predictions: Tensor) -> float | Tensor:
    if not isinstance(weight, Tensor):
        return weight
    return weight.to(predictions).reshape(-1, *(1,) * (predictions.ndim - 1))


class GuidedPrediction:
    """The frozen model under fixed conditions: calls give the guided prediction, by one UNet call each.

    Keys and values of the conditions are projected once, when the object is made, or before. The unconditional
    prediction is left out where it cancels (guidance times the sum of weights is 1), and so are conditions of weight 0.

    Args:
        model: the frozen base model.
        conditionals: text conditions, each (1 or B, positions, width), or the same projected.
        weights: one per condition: a number, or (B,) numbers, one per image.
        unconditional: condition of the negative prompt, (1, positions, width), or the same projected.
        guidance_scale: see :func:`compose_guidance`.
        batch_size: B, the number of latents in a call.
        guidance_interval: lowest and highest noise level (sigma, noise over signal) at which guidance applies; it is 1
            elsewhere (Kynkaanniemi et al., NeurIPS 2024, arXiv:2404.07724). None applies it everywhere.

    Raises:
        ValueError: there are not as many weights as conditionals.
    """

    def __init__(
        self,
        model: "FrozenLatentDiffusion",
        conditionals: Sequence["Tensor | ProjectedCondition"],
        weights: Sequence[float | Tensor],
        unconditional: "Tensor | ProjectedCondition",
        guidance_scale: float,
        batch_size: int,
        guidance_interval: tuple[float, float] | None = None,
    ) -> None:
        self.model = model
        self.guidance_scale = guidance_scale
        self.guidance_interval = guidance_interval
        pairs = zip(conditionals, weights, strict=True)
        used = [(condition, weight) for condition, weight in pairs if isinstance(weight, Tensor) or weight != 0]
        self.weights = [weight for _, weight in used]
        conditions = [
            condition if isinstance(condition, ProjectedCondition) else model.project_condition(condition)
            for condition in (unconditional, *(condition for condition, _ in used))
        ]
        if any(len(condition) > 1 for condition in conditions):
            conditions = [condition.expanded(batch_size) for condition in conditions]
        scales = {guidance_scale} if guidance_interval is None else {guidance_scale, 1.0}
        self.conditions = {
            needs: ProjectedCondition.joined(conditions if needs else conditions[1:])
            for needs in {self.needs_unconditional(scale) for scale in scales}
        }

    def __call__(self, latents: Tensor, timestep: Tensor) -> Tensor:
        """Return the guided prediction (B, C, h, w) for latents (B, C, h, w) that share one timestep."""
        scale = self.scale_at(timestep)
        needs_unconditional = self.needs_unconditional(scale)
        count = len(self.weights) + needs_unconditional
        repeated = latents.repeat(count, 1, 1, 1)
        predictions = list(self.model.predict(repeated, timestep, self.conditions[needs_unconditional]).chunk(count))
        unconditional = predictions.pop(0) if needs_unconditional else torch.zeros_like(latents)
        return compose_guidance(unconditional, predictions, self.weights, scale)

    def scale_at(self, timestep: Tensor) -> float:
        """Return the guidance scale at a timestep."""
        if self.guidance_interval is None:
            return self.guidance_scale
        alphas = self.model.alphas_cumprod
        alpha = float(alphas[round(float(timestep))])
        lowest, highest = self.guidance_interval
        return self.guidance_scale if lowest <= ((1 - alpha) / alpha) ** 0.5 <= highest else 1.0

    def needs_unconditional(self, scale: float) -> bool:
        """Tell whether the unconditional prediction counts at a guidance scale."""
        total = scale * sum(self.weights)
        return bool((abs(torch.as_tensor(total) - 1.0) > 1e-6).any())
