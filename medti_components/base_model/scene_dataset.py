# SPDX-License-Identifier: Apache-2.0
"""Captioned scenes in memory: with token ids for the base model, with labels for the feature network."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import CLIPTokenizer

from medti_components.base_model.caption_tokenizer import build_caption_tokenizer
from medti_components.base_model.captioned_scenes import (
    COLOURS,
    COLUMNS,
    ORIENTATIONS,
    ROWS,
    SIZES,
    CaptionedScenes,
    draw_captioned_scenes,
)
from medti_components.base_model.scene_renderer import BASIC_SHAPES, BASIC_TEXTURES
from medti_components.errors import ConfigError
from medti_components.transforms.eight_bit_picture import from_pixels

CHUNK = 500
HELD_OUT_FIRST = 10**9  # scenes of this number and above are never trained on
PLACES = ("long", "soft", "faint", "pair", "inner", "outer", "inside")
WORDS = (*BASIC_SHAPES, *BASIC_TEXTURES, *COLOURS, *SIZES, *ROWS, *COLUMNS, *ORIENTATIONS, *PLACES)
"""The words that say something of a picture, in the order of the labels; the feature network has a logit for each."""


class SceneDataset:
    """Images, captions and token ids of rich scenes 0 to ``num_scenes``, and some held-out ones.

    Args:
        num_scenes: how many to train on; they take 12 kB each at 64 pixels.
        image_size: height and width in pixels.
        seed: the run's seed; the same seed gives the same scenes.
        num_held_out: scenes to measure on.
        show_progress: whether to show a progress bar.
        num_workers: processes that draw; 0 draws in this one. The scenes do not depend on it.

    Attributes:
        images: (N, 3, image_size, image_size), uint8 in [0, 255].
        input_ids: (N, 77), padded after the end token.
        held_out_images, held_out_input_ids: the same of scenes that are not trained on.
        tokenizer: made from the captions.
        empty_ids: (1, 77), the empty caption's.

    Raises:
        ConfigError: num_scenes is not positive.
    """

    def __init__(
        self,
        num_scenes: int = 80_000,
        image_size: int = 64,
        seed: int = 0,
        num_held_out: int = 192,
        show_progress: bool = True,
        num_workers: int = 0,
    ) -> None:
        scenes = _draw_scenes(0, num_scenes, image_size, seed, show_progress, is_rich=True, num_workers=num_workers)
        held_out = draw_captioned_scenes(HELD_OUT_FIRST, num_held_out, image_size, seed, is_rich=True)
        self.tokenizer: CLIPTokenizer = build_caption_tokenizer(scenes.captions)
        self.images = scenes.images
        self.input_ids = self._tokenize(scenes.captions)
        self.held_out_images = held_out.images
        self.held_out_input_ids = self._tokenize(held_out.captions)
        self.empty_ids = self._tokenize([""])

    def __len__(self) -> int:
        return len(self.images)

    def move_to(self, device: torch.device | str) -> None:
        """Put all tensors onto ``device``; in place."""
        self.images, self.held_out_images = self.images.to(device), self.held_out_images.to(device)
        self.input_ids, self.held_out_input_ids = self.input_ids.to(device), self.held_out_input_ids.to(device)
        self.empty_ids = self.empty_ids.to(device)

    def _tokenize(self, captions: list[str]) -> Tensor:
        length = self.tokenizer.model_max_length
        encoded = self.tokenizer(captions, padding="max_length", max_length=length, truncation=True)
        return torch.tensor(encoded.input_ids)


class SceneWords(Dataset[dict[str, Any]]):
    """Scenes in memory; items are ``{"image": float32 (3, size, size) in [-1, 1], "label": float32 (words,)}``.

    The scenes are not rich: the embedded feature network learned from such ones.

    A label is 1 for each word of ``WORDS`` that the caption holds. Captions leave attributes out at random, so that a
    0 does not always mean that there is nothing of the kind.

    Args:
        num_scenes: how many; they take 12 kB each at 64 pixels.
        image_size: height and width in pixels.
        seed: the same seed gives the same scenes.
        is_held_out: take scenes that no training takes.
        show_progress: whether to show a progress bar.

    Raises:
        ConfigError: num_scenes is not positive.

    >>> item = SceneWords(2, image_size=32, show_progress=False)[1]
    >>> item["image"].shape, len(item["label"]) == len(WORDS)
    (torch.Size([3, 32, 32]), True)
    """

    def __init__(
        self,
        num_scenes: int,
        image_size: int = 64,
        seed: int = 0,
        is_held_out: bool = False,
        show_progress: bool = True,
    ) -> None:
        scenes = _draw_scenes(HELD_OUT_FIRST if is_held_out else 0, num_scenes, image_size, seed, show_progress)
        self.images = scenes.images
        self.labels = torch.stack([_label(caption) for caption in scenes.captions])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": from_pixels(self.images[index]), "label": self.labels[index]}


class _Chunks(Dataset[tuple[np.ndarray, list[str]]]):
    """Scenes ``first`` to ``first + num_scenes`` by the chunk, drawn when they are asked for."""

    def __init__(self, first: int, num_scenes: int, image_size: int, seed: int, is_rich: bool) -> None:
        self.first, self.num_scenes = first, num_scenes
        self.image_size, self.seed, self.is_rich = image_size, seed, is_rich

    def __len__(self) -> int:
        return -(-self.num_scenes // CHUNK)

    def __getitem__(self, index: int) -> tuple[np.ndarray, list[str]]:
        start = index * CHUNK
        count = min(CHUNK, self.num_scenes - start)
        scenes = draw_captioned_scenes(self.first + start, count, self.image_size, self.seed, self.is_rich)
        return scenes.images.numpy(), scenes.captions


def _draw_scenes(
    first: int,
    num_scenes: int,
    image_size: int,
    seed: int,
    show_progress: bool,
    is_rich: bool = False,
    num_workers: int = 0,
) -> CaptionedScenes:
    """Draw scenes ``first`` to ``first + num_scenes`` in chunks, with a progress bar."""
    if num_scenes < 1:
        raise ConfigError(f"num_scenes must be 1 or more, got {num_scenes}")
    chunks = _Chunks(first, num_scenes, image_size, seed, is_rich)
    images = torch.empty(num_scenes, 3, image_size, image_size, dtype=torch.uint8)
    captions: list[str] = []
    with tqdm(total=num_scenes, desc="drawing scenes", disable=not show_progress, unit="scene") as bar:
        # as arrays: tensors would want shared memory
        for pixels, texts in DataLoader(chunks, batch_size=None, num_workers=num_workers, collate_fn=_as_it_is):
            images[len(captions) : len(captions) + len(texts)] = torch.from_numpy(pixels)
            captions += texts
            bar.update(len(texts))
    return CaptionedScenes(images, captions)


def _as_it_is(chunk: Any) -> Any:
    return chunk


def _label(caption: str) -> Tensor:
    words = set(caption.split())
    return torch.tensor([float(word in words) for word in WORDS])
