# SPDX-License-Identifier: Apache-2.0
"""What a generating run left behind, read back as images of known concepts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from medti_components.errors import DataError

CONDITIONS = (
    "guidance_scale",
    "num_inference_steps",
    "scheduler",
    "negative_prompt",
    "base_model",
    "base_model_sha256",
)


class GeneratedImages(Dataset[dict[str, object]]):
    """Images of a generating run's ``output_dir``, with the concept that each line of ``provenance.jsonl`` names.

    Items are ``{"image": float32 (3, image_size, image_size) in [-1, 1], "concept": token, "label": its index in
    concepts, "file": path}``. Larger images are scaled down by averaging areas; smaller ones are refused. All are read
    at once, so that a broken file is found before anything long begins. ``conditions`` says what they were made with.

    Args:
        generated_dir: folder with ``provenance.jsonl``; its ``file`` entries are relative to it.
        concepts: the known concept tokens; each prompt must name exactly one of them.
        image_size: height and width of the items, in pixels.
        num_cases: how many images of each concept to take, in the order of the file.
        key: the config key that ``generated_dir`` came from, for messages.

    Raises:
        DataError: the folder, the file or an image is missing, unreadable or too small, sizes differ, a prompt names no
            concept or several, or there are fewer than ``num_cases`` images of a concept.
    """

    def __init__(
        self,
        generated_dir: str | Path,
        concepts: Sequence[str],
        image_size: int,
        num_cases: int,
        key: str = "generated_dir",
    ) -> None:
        self.folder = Path(generated_dir)
        self.concepts = list(concepts)
        self.image_size = image_size
        self.key = key
        self._first_size: tuple[int, int] | None = None
        lines = self._selected(num_cases)
        self.conditions = _conditions([line["entry"] for line in lines])
        self._items = [self._item(Path(line["path"]), line["concept"]) for line in lines]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, object]:
        return self._items[index]

    def _selected(self, num_cases: int) -> list[dict[str, Any]]:
        """The first ``num_cases`` lines of each concept, each with its concept, path and entry."""
        by_concept: dict[str, list[dict[str, Any]]] = {concept: [] for concept in self.concepts}
        for line in self._provenance():
            by_concept[line["concept"]].append(line)
        for concept, lines in by_concept.items():
            if len(lines) < num_cases:
                raise DataError(
                    f"{self.key} '{self.folder}' must hold {num_cases} images of {concept}, got {len(lines)}: "
                    f"generate more, or set --num_test_cases {len(lines)}"
                )
        return [line for lines in by_concept.values() for line in lines[:num_cases]]

    def _provenance(self) -> list[dict[str, Any]]:
        path = self.folder / "provenance.jsonl"
        if not path.is_file():
            raise DataError(
                f"{self.key} must be the output_dir of a generating run, '{path}' does not exist: "
                f"generate images first, or correct --{self.key}"
            )
        lines = []
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                entry = json.loads(text)
                prompt, file = entry["prompt"], self.folder / entry["file"]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise DataError(
                    f"'{path}' line {number} must be a JSON object with 'prompt' and 'file': generate the images again"
                ) from error
            lines.append({"concept": self._concept(prompt, path, number), "path": file, "entry": entry})
        return lines

    def _concept(self, prompt: str, path: Path, number: int) -> str:
        named = [concept for concept in self.concepts if concept in str(prompt)]
        if len(named) != 1:
            raise DataError(
                f"'{path}' line {number}: prompt must name exactly one of {', '.join(self.concepts)}, got '{prompt}': "
                "generate with one concept a prompt, or set --concepts"
            )
        return named[0]

    def _item(self, path: Path, concept: str) -> dict[str, object]:
        try:
            with Image.open(path) as opened:
                picture = opened.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"'{path}' is missing or not a readable image: generate it again") from error
        if self._first_size is None:
            self._first_size = picture.size
        if picture.size != self._first_size:
            raise DataError(
                f"'{path}' must be {_size(self._first_size)} like the images before it, got {_size(picture.size)}: "
                f"keep images of one size in --{self.key}"
            )
        if min(picture.size) < self.image_size or picture.size[0] != picture.size[1]:
            raise DataError(
                f"'{path}' must be square and at least {self.image_size} pixels wide, got {_size(picture.size)}: "
                f"set --image_size {min(picture.size)} or less"
            )
        if picture.size[0] > self.image_size:
            picture = picture.resize((self.image_size, self.image_size), Image.Resampling.BOX)
        image = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1).contiguous()
        return {
            "image": image,
            "concept": concept,
            "label": self.concepts.index(concept),
            "file": str(path),
        }


def _conditions(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the images were made with: each value that occurs, and the first and last seed.

    >>> _conditions([{"seed": 4, "guidance_scale": 2.0}, {"seed": 9, "guidance_scale": 2.0}])
    {'guidance_scale': [2.0], 'seeds': [4, 9]}
    """
    found = {name: sorted({entry[name] for entry in entries if name in entry}, key=str) for name in CONDITIONS}
    seeds = [entry["seed"] for entry in entries if "seed" in entry]
    return {name: values for name, values in found.items() if values} | (
        {"seeds": [min(seeds), max(seeds)]} if seeds else {}
    )


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]} pixels"
