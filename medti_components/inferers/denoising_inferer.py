# SPDX-License-Identifier: Apache-2.0
"""From one concept's rows to the frozen model's prediction."""

from typing import TYPE_CHECKING

from monai.inferers import Inferer
from torch import Tensor

from medti_components.networks.concept_embedding import ConceptEmbedding

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


class DenoisingInferer(Inferer):
    """Encodes the prompt that is the concept's token alone, once for the whole batch, and predicts.

    Args:
        model: the frozen base model; gradients reach the rows alone.
    """

    def __init__(self, model: "FrozenLatentDiffusion") -> None:
        super().__init__()
        self.model = model

    def __call__(self, inputs: Tensor, network: ConceptEmbedding, timesteps: Tensor) -> Tensor:  # type: ignore[override]
        """Return the prediction (B, C, h, w) for noisy latents (B, C, h, w) at timesteps (B,)."""
        condition = self.model.condition_from_rows(network.rows)
        return self.model.predict(inputs, timesteps, condition)
