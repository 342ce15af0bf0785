# SPDX-License-Identifier: Apache-2.0
"""From a prompt of words and concept tokens to the token embeddings that enter the text encoder."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from medti_components.errors import PromptError

BRACKETED = re.compile(r"<[^<>\s]+>")


def token_embeddings(
    prompt: str,
    embeddings: Mapping[str, Tensor],
    tokenizer: CLIPTokenizer,
    table: nn.Embedding,
    num_positions: int,
) -> Tensor:
    """Return the token embeddings (1, num_positions, width) of a prompt, concept tokens expanded in place.

    The layout is [start, words and rows ..., end, padding ...], as diffusers lays it out after
    ``load_textual_inversion``.

    Args:
        prompt: words of the base model's vocabulary and concept tokens ``<word>``.
        embeddings: rows (n, width) of each concept by its token; gradients flow to them.
        tokenizer: the base model's.
        table: the text encoder's token embedding.
        num_positions: how many positions the text encoder takes, start and end included.

    Raises:
        PromptError: a ``<...>`` in the prompt is no known concept, or the prompt is longer than the encoder takes.
    """
    parts = [_lookup([tokenizer.bos_token_id], table)]
    first_too_many = None
    for start, text in _segments(prompt, tokenizer):
        if BRACKETED.fullmatch(text) and text not in tokenizer.all_special_tokens:
            if text not in embeddings:
                known = ", ".join(sorted(embeddings)) or "none"
                raise PromptError(f"unknown concept '{text}': known are {known}", prompt, start)
            parts.append(embeddings[text].to(table.weight))
        elif words := tokenizer(text, add_special_tokens=False)["input_ids"]:
            parts.append(_lookup(words, table))
        if first_too_many is None and sum(len(part) for part in parts) >= num_positions:
            first_too_many = start
    parts.append(_lookup([tokenizer.eos_token_id], table))
    length = sum(len(part) for part in parts)
    if first_too_many is not None:
        raise PromptError(
            f"a text takes {length - 2} positions, the text encoder has {num_positions - 2}: shorten it, or join "
            "concepts by AND, which encodes each on its own",
            prompt,
            first_too_many,
        )
    if length < num_positions:
        parts.append(_lookup([tokenizer.pad_token_id], table).expand(num_positions - length, -1))
    return torch.cat(parts)[None]


def _lookup(ids: list[int], table: nn.Embedding) -> Tensor:
    return table.weight[torch.tensor(ids, device=table.weight.device)]


def _segments(prompt: str, tokenizer: CLIPTokenizer) -> list[tuple[int, str]]:
    """Split into words and concept tokens, each with its offset; the tokenizer's own special tokens are words."""
    segments: list[tuple[int, str]] = []
    start = 0
    for match in BRACKETED.finditer(prompt):
        if match.group() in tokenizer.all_special_tokens:
            continue
        segments += [(start, prompt[start : match.start()]), (match.start(), match.group())]
        start = match.end()
    return [(start, text) for start, text in [*segments, (start, prompt[start:])] if text]
