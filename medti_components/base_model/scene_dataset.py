# SPDX-License-Identifier: Apache-2.0
"""All the captioned scenes of one base model training, in memory."""

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPTokenizer

from medti_components.base_model.caption_tokenizer import build_caption_tokenizer
from medti_components.base_model.captioned_scenes import draw_captioned_scenes
from medti_components.errors import ConfigError

CHUNK = 500
HELD_OUT_FIRST = 10**9  # scenes of this number and above are never trained on


class SceneDataset:
    """Images, captions and token ids of scenes 0 to ``num_scenes``, and some held-out ones.

    Args:
        num_scenes: how many to train on; they take 12 kB each at 64 pixels.
        image_size: height and width in pixels.
        seed: the run's seed; the same seed gives the same scenes.
        num_held_out: scenes to measure on.
        show_progress: whether to show a progress bar.

    Attributes:
        images: (N, 3, image_size, image_size), uint8 in [0, 255].
        input_ids: (N, 77), padded after the end token.
        held_out_images, held_out_input_ids: likewise, of scenes that are not trained on.
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
    ) -> None:
        if num_scenes < 1:
            raise ConfigError(f"num_scenes must be 1 or more, got {num_scenes}")
        images, captions = [], []
        with tqdm(total=num_scenes, desc="drawing scenes", disable=not show_progress, unit="scene") as bar:
            for first in range(0, num_scenes, CHUNK):
                scenes = draw_captioned_scenes(first, min(CHUNK, num_scenes - first), image_size, seed)
                images.append(scenes.images)
                captions += scenes.captions
                bar.update(len(scenes))
        held_out = draw_captioned_scenes(HELD_OUT_FIRST, num_held_out, image_size, seed)
        self.tokenizer: CLIPTokenizer = build_caption_tokenizer(captions)
        self.images = torch.cat(images)
        self.input_ids = self._tokenize(captions)
        self.held_out_images = held_out.images
        self.held_out_input_ids = self._tokenize(held_out.captions)
        self.empty_ids = self._tokenize([""])

    def __len__(self) -> int:
        return len(self.images)

    def _tokenize(self, captions: list[str]) -> Tensor:
        length = self.tokenizer.model_max_length
        encoded = self.tokenizer(captions, padding="max_length", max_length=length, truncation=True)
        return torch.tensor(encoded.input_ids)


def to_unit_range(images: Tensor) -> Tensor:
    """Map uint8 images in [0, 255] to float32 in [-1, 1].

    >>> to_unit_range(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    [-1.0, 1.0]
    """
    return images.float() / 127.5 - 1
