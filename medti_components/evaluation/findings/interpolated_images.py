# SPDX-License-Identifier: Apache-2.0
"""Rows of images between two concepts, as an interpolating run left them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from medti_components.data.generated.generated_folder import GeneratedFolder, ProvenanceLine, sampling_conditions
from medti_components.errors import DataError
from medti_components.evaluation.findings.finding_concepts import FindingConcepts
from medti_components.inferers.prompt_composition import PromptPart


@dataclass(frozen=True)
class InterpolatedRows:
    """Which images are of one interpolation.

    Args:
        name: from where to where.
        finding: column of the finding whose weight is meant.
        weights: of the finding, (steps,), rising.
        indices: of the images, (rows, steps); a row is one seed.
    """

    name: str
    finding: int
    weights: Tensor
    indices: Tensor


class InterpolatedImages(Dataset[dict[str, Any]]):
    """The images of ``interpolating`` runs, and in :attr:`rows` how they belong together.

    Items are ``{"image": float32 (3, image_size, image_size) in [-1, 1], "concept": the prompt, "label": float32
    (findings,)}``. All are read at once; ``conditions`` says what they were made with.

    Args:
        interpolated_dir: folder with ``provenance.jsonl``, or a folder of such folders.
        findings: the words.
        image_size: height and width of the items, in pixels.
        key: the config key that ``interpolated_dir`` came from, for messages.

    Raises:
        DataError: the folder, the file or an image is missing or does not fit, there is no image, a prompt is not of
            two parts of which one is a finding, or rows have different weights or only one.
    """

    def __init__(
        self, interpolated_dir: str | Path, findings: FindingConcepts, image_size: int, key: str = "interpolated_dir"
    ) -> None:
        folder = GeneratedFolder(interpolated_dir, image_size, key, "an interpolating run")
        folder.check_not_empty()
        self.conditions = sampling_conditions(folder.lines)
        found: dict[tuple[str, str], dict[tuple[str, int], dict[float, int]]] = {}
        columns: dict[tuple[str, str], int] = {}
        for index, line in enumerate(folder.lines):
            first, second = _two_parts(line)
            ends = (first.text, second.text)
            columns[ends], part = _finding(line, findings, first, second)
            row = found.setdefault(ends, {}).setdefault((str(line.source), int(line.entry.get("seed", 0))), {})
            row[part.weight] = index
        self.rows = [
            _rows(f"{first} to {second}", columns[first, second], rows, folder)
            for (first, second), rows in found.items()
        ]
        self._items = [
            {"image": folder.image(line.path), "concept": line.prompt, "label": findings.label_of_parts(line.parts())}
            for line in folder.lines
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._items[index]


def _two_parts(line: ProvenanceLine) -> tuple[PromptPart, PromptPart]:
    parts = line.parts()
    if len(parts) != 2:
        raise line.fault(
            f"prompt must be of two parts, as an interpolating run's are, got '{line.prompt}': correct "
            "--interpolated_dir, or give composed images by --composed_dir"
        )
    return parts[0], parts[1]


def _finding(
    line: ProvenanceLine, findings: FindingConcepts, first: PromptPart, second: PromptPart
) -> tuple[int, PromptPart]:
    """Return the finding whose weight is meant and its part: the second's, or where that is none, the first's."""
    for part in (second, first):
        try:
            label = findings.label_of_parts([PromptPart(part.text)])
        except DataError as error:
            raise line.fault(str(error)) from error
        if int(label.sum()) == 1:
            return int(label.argmax()), part
    raise line.fault(
        f"prompt must go to or from one of {', '.join(findings.positive)}, got '{line.prompt}': correct --concepts"
    )


def _rows(
    name: str, finding: int, rows: dict[tuple[str, int], dict[float, int]], folder: GeneratedFolder
) -> InterpolatedRows:
    weights = sorted(next(iter(rows.values())))
    for (_, seed), row in rows.items():
        if sorted(row) != weights or len(weights) < 2:
            raise DataError(
                f"{folder.key} '{folder.folder}' must hold the same two or more weights of each seed, got "
                f"{sorted(row)} of seed {seed} from {name} and {weights} before: generate the rows again"
            )
    indices = [[row[weight] for weight in weights] for row in rows.values()]
    return InterpolatedRows(name, finding, torch.tensor(weights), torch.tensor(indices))
