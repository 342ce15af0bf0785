# SPDX-License-Identifier: Apache-2.0
"""The batches of a classifier's training, each a function of seed and step, so that resuming needs no stored state."""

from typing import Any

import torch
from monai.transforms import Compose
from torch import Tensor
from torch.utils.data import Dataset

from medti_components.errors import ConfigError
from medti_components.random_streams import random_stream, stream_seed


class ClassifierBatches(Dataset[dict[str, Tensor]]):
    """Batch ``step`` holds images ``step * batch_size`` and following of a sequence in which every image comes up once
    an epoch, in an order drawn by seed and epoch; the augmentation of each is drawn by seed and its place.

    Args:
        images: items with image (C, H, W) and label.
        transform: the augmentation.
        batch_size: images a batch.
        num_batches: batches of the whole training.
        seed: of order and augmentation.

    Raises:
        ConfigError: ``batch_size`` is 0.

    >>> images = [{"image": torch.full((1, 1, 1), float(i)), "label": i % 2} for i in range(4)]
    >>> batches = ClassifierBatches(images, Compose([]), batch_size=2, num_batches=2, seed=0)
    >>> sorted(torch.cat([batches[0]["image"], batches[1]["image"]]).flatten().tolist())
    [0.0, 1.0, 2.0, 3.0]
    """

    def __init__(
        self, images: Dataset[dict[str, Any]], transform: Compose, batch_size: int, num_batches: int, seed: int
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"classifier_batch_size must be at least 1, got {batch_size}")
        self.images = images
        self.transform = transform
        self.batch_size = batch_size
        self.num_batches = num_batches
        self.seed = seed
        self._order: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Return {"image": float32 (batch_size, C, H, W), "label": int64 (batch_size,)}."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        items = [self._augmented(place) for place in places]
        return {
            "image": torch.stack([torch.as_tensor(item["image"]) for item in items]),
            "label": torch.tensor([int(item["label"]) for item in items]),
        }

    def _augmented(self, place: int) -> dict[str, Any]:
        epoch, position = divmod(place, len(self.images))  # type: ignore[arg-type]
        if self._order[0] != epoch:
            stream = random_stream(self.seed, "order of images", epoch)
            self._order = (epoch, torch.randperm(len(self.images), generator=stream).tolist())  # type: ignore[arg-type]
        self.transform.set_random_state(stream_seed(self.seed, "augmentation", place) % 2**32)
        item: dict[str, Any] = self.transform(dict(self.images[self._order[1][position]]))
        return item
