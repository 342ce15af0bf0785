# SPDX-License-Identifier: Apache-2.0
"""Attention of the denoiser in which samples that share a text condition share its keys and values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from medti_components.errors import BaseModelError


@dataclass(frozen=True)
class ProjectedCondition:
    """A text condition together with its keys and values in every cross-attention layer.

    Attributes:
        condition: (K, positions, width).
        keys_and_values: by layer name, each (K, heads, positions, head width).
    """

    condition: Tensor
    keys_and_values: Mapping[str, tuple[Tensor, Tensor]]

    def __len__(self) -> int:
        return len(self.condition)

    def expanded(self, count: int) -> "ProjectedCondition":
        """Return K = ``count`` conditions, from K or from one that is repeated."""
        return ProjectedCondition(
            self.condition.expand(count, -1, -1),
            {
                name: (key.expand(count, -1, -1, -1), value.expand(count, -1, -1, -1))
                for name, (key, value) in self.keys_and_values.items()
            },
        )

    @staticmethod
    def joined(conditions: "Sequence[ProjectedCondition]") -> "ProjectedCondition":
        """Lay conditions behind one another."""
        if len(conditions) == 1:
            return conditions[0]
        keys_and_values = {
            name: (
                torch.cat([each.keys_and_values[name][0] for each in conditions]),
                torch.cat([each.keys_and_values[name][1] for each in conditions]),
            )
            for name in conditions[0].keys_and_values
        }
        return ProjectedCondition(torch.cat([each.condition for each in conditions]), keys_and_values)


class SharedConditionAttention(nn.Module):
    """Stands in for one of the UNet's ``Attention`` layers, with its weights; scaled dot-product throughout.

    A condition of batch K serves a batch B = K * m: its keys and values are projected once for each of the K, and the
    queries of the m samples that share them (samples k*m to (k+1)*m - 1 for condition k) are laid end to end. Every
    query is answered by itself, so the result is that of the condition repeated m times. This is a layer, as
    the detour to a processor of diffusers' costs a twentieth of a small model's step.

    Args:
        attention: the layer of diffusers that it replaces.
        layer: the layer's name, under which ``ProjectedCondition`` keeps its keys and values.
        query_slice: number of queries answered at a time; 0 answers all at once. Smaller needs less memory where the
            backend holds the whole attention matrix.
    """

    def __init__(self, attention: Attention, layer: str, query_slice: int = 0) -> None:
        super().__init__()
        self.to_q = attention.to_q
        self.to_k = attention.to_k
        self.to_v = attention.to_v
        self.to_out = attention.to_out
        self.heads = attention.heads
        self.layer = layer
        self.query_slice = query_slice

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        projected: ProjectedCondition | None = None,
    ) -> Tensor:
        """Return the attended hidden states (B, tokens, channels)."""
        if attention_mask is not None:
            raise ValueError("attention_mask must be None: text conditions are attended to at all positions")
        batch, tokens, _ = hidden_states.shape
        query = self.to_q(hidden_states)
        if encoder_hidden_states is None:
            key, value = self.project(hidden_states)
        elif projected is None:
            key, value = self.project(encoder_hidden_states)
        else:
            key, value = projected.keys_and_values[self.layer]
        num_conditions = key.shape[0]
        query = query.reshape(num_conditions, batch // num_conditions * tokens, self.heads, -1).transpose(1, 2)
        attended = self._attend(query, key, value)
        attended = attended.transpose(1, 2).reshape(batch, tokens, -1)
        return self.to_out[0](attended)

    def project(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Project (K, positions, width) to keys and values, each (K, heads, positions, head width)."""
        shape = (*states.shape[:2], self.heads, -1)
        return self.to_k(states).view(shape).transpose(1, 2), self.to_v(states).view(shape).transpose(1, 2)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        attend = nn.functional.scaled_dot_product_attention
        if not 0 < self.query_slice < query.shape[2]:
            return attend(query, key, value)
        return torch.cat([attend(part, key, value) for part in query.split(self.query_slice, dim=2)], dim=2)


def share_conditions(unet: nn.Module, query_slice: int = 0) -> dict[str, SharedConditionAttention]:
    """Replace all attention layers of a UNet by :class:`SharedConditionAttention`; return them by name.

    Raises:
        BaseModelError: the UNet has an attention layer of another kind than Stable Diffusion's.
    """
    layers = {name: module for name, module in unet.named_modules() if isinstance(module, Attention)}
    shared = {}
    for name, attention in layers.items():
        if not is_plain(attention):
            raise BaseModelError(
                f"attention layer '{name}' of the UNet is of an unknown kind: "
                "choose a text-to-image model of Stable Diffusion 1 or 2's kind"
            )
        shared[name] = SharedConditionAttention(attention, name, query_slice)
        parent, _, child = name.rpartition(".")
        setattr(unet.get_submodule(parent), child, shared[name])
    return shared


def is_plain(attention: Attention) -> bool:
    """Tell whether a layer is query, key, value and output alone, as in Stable Diffusion.

    >>> is_plain(Attention(8, heads=2, dim_head=4)), is_plain(Attention(8, residual_connection=True))
    (True, False)
    """
    extras = ("spatial_norm", "group_norm", "norm_cross", "norm_q", "norm_k", "add_k_proj", "residual_connection")
    return all(not getattr(attention, extra, None) for extra in extras) and attention.rescale_output_factor == 1.0
