# SPDX-License-Identifier: Apache-2.0
"""Attention of the denoiser in which samples that share a text condition share its keys and values."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn


@dataclass(frozen=True)
class ProjectedCondition:
    """A text condition together with its keys and values in every cross-attention layer.

    Attributes:
        condition: (K, positions, width).
        keys_and_values: by layer name, each (K, heads, positions, head width).
    """

    condition: Tensor
    keys_and_values: Mapping[str, tuple[Tensor, Tensor]]


class SharedConditionAttention:
    """Attention processor for diffusers' ``Attention``, scaled dot-product throughout.

    A condition of batch K serves a batch B = K * m: its keys and values are projected once for each of the K, and the
    queries of the m samples that share them (samples k*m to (k+1)*m - 1 for condition k) are laid end to end. Every
    query is answered by itself, so the result is that of the condition repeated m times.

    Args:
        layer: the layer's name, under which ``ProjectedCondition`` keeps its keys and values.
        query_slice: number of queries answered at a time; 0 answers all at once. Smaller needs less memory where the
            backend holds the whole attention matrix.
    """

    def __init__(self, layer: str, query_slice: int = 0) -> None:
        self.layer = layer
        self.query_slice = query_slice

    def __call__(
        self,
        attention: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        projected: ProjectedCondition | None = None,
    ) -> Tensor:
        """Return the attended hidden states (B, tokens, channels)."""
        if attention_mask is not None:
            raise ValueError("attention_mask must be None: text conditions are attended to at all positions")
        batch, tokens, _ = hidden_states.shape
        query = attention.to_q(hidden_states)
        if encoder_hidden_states is None:
            key, value = project_keys_and_values(attention, hidden_states)
        elif projected is None:
            key, value = project_keys_and_values(attention, encoder_hidden_states)
        else:
            key, value = projected.keys_and_values[self.layer]
        num_conditions = key.shape[0]
        query = query.reshape(num_conditions, batch // num_conditions * tokens, attention.heads, -1).transpose(1, 2)
        attended = self._attend(query, key, value)
        attended = attended.transpose(1, 2).reshape(batch, tokens, -1)
        return attention.to_out[0](attended)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        attend = nn.functional.scaled_dot_product_attention
        if not 0 < self.query_slice < query.shape[2]:
            return attend(query, key, value)
        return torch.cat([attend(part, key, value) for part in query.split(self.query_slice, dim=2)], dim=2)


def project_keys_and_values(attention: Attention, states: Tensor) -> tuple[Tensor, Tensor]:
    """Project (K, positions, width) to keys and values, each (K, heads, positions, head width)."""
    key, value = attention.to_k(states), attention.to_v(states)
    shape = (*states.shape[:2], attention.heads, -1)
    return key.view(shape).transpose(1, 2), value.view(shape).transpose(1, 2)
