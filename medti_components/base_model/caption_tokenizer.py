# SPDX-License-Identifier: Apache-2.0
"""A byte-level tokenizer of CLIP's kind, made from captions."""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

START, END, PAD, END_OF_WORD = "<|startoftext|>", "<|endoftext|>", "!", "</w>"


def _learn_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Merge the commonest neighbours, the first in the alphabet among equals, until each word is one symbol.

    The library's own trainer breaks ties differently in every process.
    """
    spelled = [[*word[:-1], word[-1] + END_OF_WORD] for word in sorted(words)]
    merges = []
    while pairs := Counter(pair for symbols in spelled for pair in pairwise(symbols)):
        first, second = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append((first, second))
        spelled = [_merged(symbols, first, second) for symbols in spelled]
    return merges


def _merged(symbols: list[str], first: str, second: str) -> list[str]:
    merged: list[str] = []
    for symbol in symbols:
        if merged and merged[-1] == first and symbol == second:
            merged[-1] = first + second
        else:
            merged.append(symbol)
    return merged


def build_caption_tokenizer(captions: Iterable[str], max_length: int = 77) -> CLIPTokenizer:
    """Learn byte pair merges until every word of the captions is one token.

    The vocabulary is laid out as CLIP's: the bytes, the bytes at the end of a word, the merges in order, start and end.

    Args:
        captions: texts whose words become single tokens; any other text falls apart into bytes.
        max_length: positions of the text encoder.

    Returns:
        The tokenizer; ``!`` (id 0) pads, as in Stable Diffusion 2.

    >>> tokenizer = build_caption_tokenizer(["a red disc", "a red ring"])
    >>> tokenizer.tokenize("red ring"), tokenizer.pad_token_id
    (['red</w>', 'ring</w>'], 0)
    """
    merges: list[Any] = _learn_merges({word for caption in captions for word in caption.lower().split()})
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    alphabet.remove(PAD)
    tokens = [PAD, *alphabet, *(f"{letter}{END_OF_WORD}" for letter in (PAD, *alphabet))]
    tokens += ["".join(pair) for pair in merges]
    tokens += [START, END]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=PAD, model_max_length=max_length)
