# SPDX-License-Identifier: Apache-2.0
"""What a generating run left behind, read back as images of known concepts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from medti_components.data.generated.generated_folder import (
    GeneratedFolder,
    ProvenanceLine,
    sampling_conditions,
)
from medti_components.errors import DataError
from medti_components.random_streams import random_stream
from medti_components.transforms.eight_bit_picture import from_pixels


class GeneratedImages(Dataset[dict[str, object]]):
    """Images of a generating run's ``output_dir``, with the concept that each line of ``provenance.jsonl`` asks for.

    Items are ``{"image": float32 (3, image_size, image_size) in [-1, 1], "concept": token, "label": its index in
    concepts, "file": path}``. Larger images are scaled down by averaging areas; smaller ones are refused. All are read
    at once, so that a broken file is found before anything long begins. ``conditions`` says what they were made with,
    ``lines`` holds the concept and the line of each.

    Args:
        generated_dir: folder with ``provenance.jsonl``; its ``file`` entries are relative to it.
        concepts: the known concept tokens; each prompt must name exactly one of them in parts of positive weight.
        image_size: height and width of the items, in pixels.
        num_cases: how many images of each concept to take, in the order of the file.
        key: the config key that ``generated_dir`` came from, for messages.
        seed: draws the images in place of taking the first ones; the first of many drawn are those of few.
        num_key: the config key that ``num_cases`` came from, for messages.
        counts_all: the key counts the images of all concepts together.
        size_key: the config key that ``image_size`` came from, for messages.

    Raises:
        DataError: the folder, the file or an image is missing, unreadable, too deep or too small, sizes differ, a
            prompt asks for no concept or several, or there are fewer than ``num_cases`` images of a concept.
    """

    def __init__(
        self,
        generated_dir: str | Path | None,
        concepts: Sequence[str],
        image_size: int,
        num_cases: int,
        key: str = "generated_dir",
        seed: int | None = None,
        num_key: str = "num_test_cases",
        counts_all: bool = False,
        size_key: str = "image_size",
    ) -> None:
        self.concepts = list(concepts)
        self.folder = GeneratedFolder(generated_dir, image_size, key, size_key=size_key)
        self._remedy = num_key, len(self.concepts) if counts_all else 1
        self.lines = lines = self._selected(num_cases, seed)
        self.conditions = sampling_conditions([line for _, line in lines])
        self._items: list[dict[str, Any]] = [  # pixels take a quarter of the memory
            {
                "image": self.folder.pixels(line.path),
                "concept": concept,
                "label": self.concepts.index(concept),
                "file": str(line.path),
            }
            for concept, line in lines
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, object]:
        item = self._items[index]
        return {**item, "image": from_pixels(item["image"])}

    def _selected(self, num_cases: int, seed: int | None) -> list[tuple[str, ProvenanceLine]]:
        """The first ``num_cases`` lines of each concept, in the order of the file or in one drawn by ``seed``."""
        by_concept: dict[str, list[ProvenanceLine]] = {concept: [] for concept in self.concepts}
        for line in self.folder.lines:
            by_concept[self._concept(line)].append(line)
        for concept, lines in by_concept.items():
            if len(lines) < num_cases:
                num_key, factor = self._remedy
                raise DataError(
                    f"{self.folder.key} '{self.folder.folder}' must hold {num_cases} images of {concept}, got "
                    f"{len(lines)}: generate more" + (f", or set --{num_key} {factor * len(lines)}" if lines else "")
                )
            if seed is not None:
                order = torch.randperm(len(lines), generator=random_stream(seed, "generated images", concept))
                by_concept[concept] = [lines[index] for index in order.tolist()]
        return [(concept, line) for concept, lines in by_concept.items() for line in lines[:num_cases]]

    def _concept(self, line: ProvenanceLine) -> str:
        asked = [concept for concept in self.concepts if line.asks_for(concept)]
        if len(asked) != 1:
            raise line.fault(
                f"prompt must ask for exactly one of {', '.join(self.concepts)}, got '{line.prompt}': "
                "generate with one concept a prompt, or set --concepts"
            )
        return asked[0]
