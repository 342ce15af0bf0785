# SPDX-License-Identifier: Apache-2.0
"""From one concept's rows to the frozen model's prediction."""

from typing import TYPE_CHECKING

from monai.inferers import Inferer
from torch import Tensor

from medti_components.networks.concept_embedding import ConceptEmbedding
from medti_components.networks.traced_module import TracedModule, can_trace

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


class DenoisingInferer(Inferer):
    """Encodes the prompt that is the concept's token alone, once for the whole batch, and predicts.

    Args:
        model: the frozen base model; gradients reach the rows alone.
        is_traced: run as a recorded graph (``TracedModule``), with the same values and gradients. None: on a CPU,
            where concepts have threads of their own, unless blocks are recomputed for less memory.
    """

    def __init__(self, model: "FrozenLatentDiffusion", is_traced: bool | None = None) -> None:
        super().__init__()
        self.model = model
        if is_traced is None:
            is_traced = model.device.type == "cpu" and not model.unet.is_gradient_checkpointing and can_trace()
        self._predict = TracedModule(model) if is_traced else model

    def __call__(self, inputs: Tensor, network: ConceptEmbedding, timesteps: Tensor) -> Tensor:  # type: ignore[override]
        """Return the prediction (B, C, h, w) for noisy latents (B, C, h, w) at timesteps (B,)."""
        return self._predict(inputs, timesteps, network.rows)
