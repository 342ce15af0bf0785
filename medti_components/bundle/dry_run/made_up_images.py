# SPDX-License-Identifier: Apache-2.0
"""Images of noise in the place of those that would first have to be prepared."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from medti_components.random_streams import random_stream

ABOUT_THE_CASE = ("concept", "label", "patient_id", "study_id")


class MadeUpImages(Dataset[dict[str, Any]]):
    """Items like those of ``PreparedImages``, with one image of noise for all: float32 (3, size, size) in [-1, 1].

    Args:
        datalist: entries with concept, label, patient_id, study_id.
        image_size: height and width in pixels.
        most: entries of each concept that are taken; None takes all.

    >>> images = MadeUpImages([{"concept": "<a>", "label": 0}] * 5, image_size=8, most=2)
    >>> len(images), images[0]["concept"], tuple(images[0]["image"].shape)
    (2, '<a>', (3, 8, 8))
    """

    def __init__(self, datalist: Sequence[Mapping[str, Any]], image_size: int, most: int | None = None) -> None:
        taken: dict[Any, int] = {}
        self._entries: list[dict[str, Any]] = []
        for entry in datalist:
            concept = entry.get("concept")
            taken[concept] = taken.get(concept, 0) + 1
            if most is None or taken[concept] <= most:
                self._entries.append({key: entry[key] for key in ABOUT_THE_CASE if key in entry})
        size = (3, image_size, image_size)
        self._image: Tensor = torch.rand(size, generator=random_stream(0, "made-up image")) * 2 - 1

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self._entries[index], "image": self._image}
