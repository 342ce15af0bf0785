# SPDX-License-Identifier: Apache-2.0
"""What MONAI's SupervisedTrainer does in one step of textual inversion (Gal et al., 2022, arXiv:2208.01618)."""

from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import Tensor

from medti_components.errors import ConfigError


class TextualInversion:
    """One optimiser step for every concept; the trainer's ``iteration_update``.

    The trainer's parts: ``network`` is a ``ConceptEmbeddings``, ``prepare_batch`` a ``DenoisingBatches``, ``inferer`` a
    ``DenoisingInferer``, ``loss_function`` a ``DenoisingLoss``. Each concept has a backward pass of its own, so that
    one concept's activations are freed before the next one's are made, and a joint run gives what separate runs give.

    Args:
        accumulation_steps: backward passes per concept and optimiser step.
        max_gradient_norm: each concept's gradient is scaled down to this 2-norm; None leaves it alone.

    Raises:
        ConfigError: max_gradient_norm is not positive.
    """

    def __init__(self, accumulation_steps: int = 1, max_gradient_norm: float | None = None) -> None:
        if max_gradient_norm is not None and not max_gradient_norm > 0:
            raise ConfigError(f"max_gradient_norm must be positive or null, got {max_gradient_norm}")
        self.accumulation_steps = accumulation_steps
        self.max_gradient_norm = max_gradient_norm

    def __call__(self, engine: SupervisedTrainer, batchdata: Any) -> dict[str, Tensor]:
        """Do step ``engine.state.iteration`` (from 1); return {"loss": float32 (num_concepts,)} on the device."""
        step = engine.state.iteration - 1
        scaler = engine.scaler
        engine.optimizer.zero_grad(set_to_none=True)
        losses = []
        for embedding in engine.network:  # type: ignore[attr-defined]
            batch = engine.prepare_batch((embedding.token, step), engine.state.device, engine.non_blocking)
            total: Tensor | float = 0.0
            for part in batch.split(self.accumulation_steps):
                prediction = engine.inferer(part.noisy_latents, embedding, part.timesteps)
                loss = engine.loss_function(prediction, part.target) / self.accumulation_steps
                (loss if scaler is None else scaler.scale(loss)).backward()
                total = total + loss.detach()
            losses.append(total)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if self.max_gradient_norm is not None:
            if scaler is not None:
                scaler.unscale_(engine.optimizer)
            for embedding in engine.network:  # type: ignore[attr-defined]
                torch.nn.utils.clip_grad_norm_(embedding.rows, self.max_gradient_norm)
        if scaler is None:
            engine.optimizer.step()
        else:
            scaler.step(engine.optimizer)
            scaler.update()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return {"loss": torch.stack(losses)}  # type: ignore[arg-type]
