# SPDX-License-Identifier: Apache-2.0
"""The network that teaches the text encoder what captions mean, and its loss."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel


class CaptionImageContrast(nn.Module):
    """A text encoder beside a small convolutional image encoder, compared by cosine.

    Args:
        text_encoder: trained along; what the base model keeps.
        channels: channels of the image encoder's convolutions, each of stride 2.
        width: features that are compared.
    """

    def __init__(
        self, text_encoder: CLIPTextModel, channels: tuple[int, ...] = (32, 64, 128, 192), width: int = 192
    ) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        layers: list[nn.Module] = []
        previous = 3
        for count in channels:
            layers += [nn.Conv2d(previous, count, 3, stride=2, padding=1), nn.GroupNorm(8, count), nn.SiLU()]
            previous = count
        self.image_encoder = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(width))
        self.text_projection = nn.Linear(text_encoder.config.hidden_size, width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, images: Tensor, input_ids: Tensor) -> Tensor:
        """Return scaled cosines (B, B), captions by images.

        Args:
            images: (B, 3, H, W) in [-1, 1].
            input_ids: (B, 77) token ids, padded after the end token.
        """
        states = self.text_encoder(input_ids=input_ids).last_hidden_state
        end = input_ids.argmax(dim=-1)  # the end token has the highest id
        text = F.normalize(self.text_projection(states[torch.arange(len(states), device=states.device), end]), dim=-1)
        image = F.normalize(self.image_encoder(images), dim=-1)
        return self.log_scale.exp().clamp(max=100) * text @ image.T


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
