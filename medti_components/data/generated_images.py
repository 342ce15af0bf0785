# SPDX-License-Identifier: Apache-2.0
"""What a generating run left behind, read back as images of known concepts."""

from collections.abc import Sequence
from pathlib import Path

from torch.utils.data import Dataset

from medti_components.data.generated_folder import GeneratedFolder, ProvenanceLine, sampling_conditions
from medti_components.errors import DataError


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
        self.concepts = list(concepts)
        self.folder = GeneratedFolder(generated_dir, image_size, key)
        lines = self._selected(num_cases)
        self.conditions = sampling_conditions([line for _, line in lines])
        self._items: list[dict[str, object]] = [
            {
                "image": self.folder.image(line.path),
                "concept": concept,
                "label": self.concepts.index(concept),
                "file": str(line.path),
            }
            for concept, line in lines
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, object]:
        return self._items[index]

    def _selected(self, num_cases: int) -> list[tuple[str, ProvenanceLine]]:
        """The first ``num_cases`` lines of each concept."""
        by_concept: dict[str, list[ProvenanceLine]] = {concept: [] for concept in self.concepts}
        for line in self.folder.lines:
            by_concept[self._concept(line)].append(line)
        for concept, lines in by_concept.items():
            if len(lines) < num_cases:
                raise DataError(
                    f"{self.folder.key} '{self.folder.folder}' must hold {num_cases} images of {concept}, got "
                    f"{len(lines)}: generate more, or set --num_test_cases {len(lines)}"
                )
        return [(concept, line) for concept, lines in by_concept.items() for line in lines[:num_cases]]

    def _concept(self, line: ProvenanceLine) -> str:
        named = [concept for concept in self.concepts if concept in line.prompt]
        if len(named) != 1:
            raise line.fault(
                f"prompt must name exactly one of {', '.join(self.concepts)}, got '{line.prompt}': "
                "generate with one concept a prompt, or set --concepts"
            )
        return named[0]
