# SPDX-License-Identifier: Apache-2.0
"""Procedural scenes with the words of their captions as labels: what the embedded feature network learns to see."""

from typing import Any

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from medti_components.base_model.captioned_scenes import (
    COLOURS,
    COLUMNS,
    ORIENTATIONS,
    ROWS,
    SIZES,
    draw_captioned_scenes,
)
from medti_components.base_model.scene_dataset import CHUNK, HELD_OUT_FIRST, to_unit_range
from medti_components.base_model.scene_renderer import SHAPES, TEXTURES
from medti_components.errors import ConfigError

PLACES = ("long", "soft", "faint", "pair", "inner", "outer", "inside")
WORDS = (*SHAPES, *TEXTURES, *COLOURS, *SIZES, *ROWS, *COLUMNS, *ORIENTATIONS, *PLACES)
"""The words that say something of a picture, in the order of the labels."""


class SceneWords(Dataset[dict[str, Any]]):
    """Scenes in memory; items are ``{"image": float32 (3, size, size) in [-1, 1], "label": float32 (words,)}``.

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
        if num_scenes < 1:
            raise ConfigError(f"num_scenes must be 1 or more, got {num_scenes}")
        first = HELD_OUT_FIRST if is_held_out else 0
        images, captions = [], []
        with tqdm(total=num_scenes, desc="drawing scenes", disable=not show_progress, unit="scene") as bar:
            for start in range(0, num_scenes, CHUNK):
                scenes = draw_captioned_scenes(first + start, min(CHUNK, num_scenes - start), image_size, seed)
                images.append(scenes.images)
                captions += scenes.captions
                bar.update(len(scenes))
        self.images = torch.cat(images)
        self.labels = torch.stack([_label(caption) for caption in captions])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": to_unit_range(self.images[index]), "label": self.labels[index]}


def _label(caption: str) -> torch.Tensor:
    words = set(caption.split())
    return torch.tensor([float(word in words) for word in WORDS])
