# SPDX-License-Identifier: Apache-2.0
"""What the small autoencoder is trained with."""

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn


class AutoencoderLoss(nn.Module):
    """Squared and absolute error of the reconstruction plus the posterior's divergence from N(0, 1).

    Args:
        absolute_weight: weight of the absolute error, which keeps edges sharp.
        divergence_weight: weight of the divergence per latent value (Rombach et al., CVPR 2022, section 3.1: slight).
    """

    def __init__(self, absolute_weight: float = 0.3, divergence_weight: float = 1e-4) -> None:
        super().__init__()
        self.absolute_weight = absolute_weight
        self.divergence_weight = divergence_weight

    def forward(self, reconstruction: Tensor, images: Tensor, posterior: DiagonalGaussianDistribution) -> Tensor:
        """Return the scalar loss; images and reconstruction are (B, 3, H, W) in [-1, 1]."""
        error = reconstruction.float() - images
        divergence = 0.5 * (posterior.mean.float().square() + posterior.var.float() - 1 - posterior.logvar.float())
        reconstruction_loss = error.square().mean() + self.absolute_weight * error.abs().mean()
        return reconstruction_loss + self.divergence_weight * torch.mean(divergence)


class ContrastiveLoss(nn.Module):
    """Symmetric InfoNCE over a batch of matching pairs (Radford et al., CLIP, ICML 2021, figure 3).

    >>> features = torch.eye(3)
    >>> bool(ContrastiveLoss()(100 * features) < 1e-6)
    True
    """

    def forward(self, logits: Tensor) -> Tensor:
        """Return the scalar loss of similarities (B, B) whose diagonal holds the matching pairs."""
        target = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
