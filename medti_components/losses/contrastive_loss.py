# SPDX-License-Identifier: Apache-2.0
"""Contrastive learning of captions and images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
