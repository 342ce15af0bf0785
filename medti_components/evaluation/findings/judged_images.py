# SPDX-License-Identifier: Apache-2.0
"""Images of several findings, rows between two words, and paintings, as the runs left them, with what was asked for."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from medti_components.data.generated.generated_folder import GeneratedFolder, ProvenanceLine, sampling_conditions
from medti_components.errors import DataError
from medti_components.evaluation.findings.finding_concepts import FindingConcepts
from medti_components.inferers.prompt_composition import PromptPart
from medti_components.metrics.prompt_fidelity import largest_change_outside
from medti_components.transforms.eight_bit_picture import eight_bits, highest_value, read_picture


class JudgedImages(Dataset[dict[str, Any]]):
    """Images of a run that are all read at once; ``conditions`` says what they were made with."""

    conditions: dict[str, Any]
    _items: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._items[index]


def made_by(**sets: Any) -> dict[str, Any]:
    """Return the conditions of each set of images that is not None, for the settings of an evaluation."""
    return {name: images.conditions for name, images in sets.items() if images is not None}


class ComposedImages(JudgedImages):
    """All images of a generating run's ``output_dir``, with the findings whose words have a positive weight.

    Items are ``{"image": float32 (3, image_size, image_size) in [-1, 1], "concept": the findings in words, "label":
    float32 (findings,)}``. All are read at once; ``conditions`` says what they were made with.

    Args:
        composed_dir: folder with ``provenance.jsonl``, or a folder of such folders.
        findings: the words.
        image_size: height and width of the items, in pixels.
        key: the config key that ``composed_dir`` came from, for messages.

    Raises:
        DataError: the folder, the file or an image is missing or does not fit, there is no image, or a prompt names an
            unknown concept or asks for no finding.
    """

    def __init__(
        self, composed_dir: str | Path, findings: FindingConcepts, image_size: int, key: str = "composed_dir"
    ) -> None:
        folder = GeneratedFolder(composed_dir, image_size, key)
        folder.check_not_empty()
        self.conditions = sampling_conditions(folder.lines)
        labels = [asked_label(line, findings) for line in folder.lines]
        self._items = [
            {"image": folder.image(line.path), "concept": findings.named(label), "label": label}
            for line, label in zip(folder.lines, labels, strict=True)
        ]


def asked_label(line: ProvenanceLine, findings: FindingConcepts) -> Tensor:
    """Return the label (findings,) of what a line's prompt asks for, at least one finding.

    Raises:
        DataError: the prompt names an unknown concept, or asks for no finding.
    """
    parts = line.parts()
    try:
        label = findings.label_of_parts(parts)
    except DataError as error:
        raise line.fault(str(error)) from error
    if not bool(label.any()):
        raise line.fault(
            f"prompt must ask for at least one of {', '.join(findings.positive)}, got '{line.prompt}': "
            "generate with findings, or set --concepts"
        )
    return label


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


class InterpolatedImages(JudgedImages):
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


class InpaintedImages(JudgedImages):
    """All images of ``inpainting`` runs.

    Items are ``{"image": after, "before": both float32 (3, image_size, image_size) in [-1, 1], "weight": of what was
    painted, float32 (H, W) of the picture in [0, 1], "concept": the findings in words, "label": float32 (findings,),
    "change_outside": largest change of a pixel outside the soft mask, in grey levels of the picture}``. All are read at
    once; ``conditions`` says what they were made with.

    Args:
        inpainted_dir: folder with ``provenance.jsonl``, or a folder of such folders.
        findings: the words.
        image_size: height and width of the items, in pixels.
        key: the config key that ``inpainted_dir`` came from, for messages.

    Raises:
        DataError: the folder, the file, an image, a mask or what was painted into is missing or does not fit, there is
            no image, or a prompt names an unknown concept or asks for no finding.
    """

    def __init__(
        self, inpainted_dir: str | Path, findings: FindingConcepts, image_size: int, key: str = "inpainted_dir"
    ) -> None:
        self.folder = GeneratedFolder(inpainted_dir, image_size, key, "an inpainting run")
        self.folder.check_not_empty()
        self.conditions = sampling_conditions(self.folder.lines)
        self._items = [self._item(line, findings) for line in self.folder.lines]

    def _item(self, line: ProvenanceLine, findings: FindingConcepts) -> dict[str, Any]:
        label = asked_label(line, findings)
        source = _source(line)
        pixels = {"before": read_picture(source), "image": _painted(line.path)}
        weight = _painted(line.file("soft_mask_file"))
        sizes = {"before": pixels["before"].shape[:2], "image": pixels["image"].shape[:2], "mask": weight.shape[:2]}
        if len(set(sizes.values())) != 1 or weight.ndim != 2:
            raise line.fault(f"image, soft mask and '{source}' must be of one size, got {sizes}: paint the image again")
        before, after = (torch.from_numpy(pixels[name].astype(np.float64)) for name in ("before", "image"))
        if before.ndim != after.ndim:
            raise line.fault(f"image and '{source}' must both be grey or both in colour: paint the image again")
        highest = highest_value(pixels["before"])
        is_painted = torch.from_numpy(weight > 0)
        return {
            "image": self._image(pixels["image"], highest, line.path),
            "before": self._image(pixels["before"], highest, source),
            "weight": torch.from_numpy(weight.astype(np.float32) / 255),
            "concept": findings.named(label),
            "label": label,
            "change_outside": largest_change_outside(_channels_first(before), _channels_first(after), is_painted[None]),
        }

    def _image(self, pixels: np.ndarray, highest: int, path: Path) -> Tensor:
        return self.folder.scaled(Image.fromarray(eight_bits(pixels, highest)).convert("RGB"), path)


def _source(line: ProvenanceLine) -> Path:
    """Return the picture that was painted into, as it was then."""
    absent = [key for key in ("soft_mask_file", "image", "image_sha256") if not isinstance(line.entry.get(key), str)]
    if absent:
        raise line.fault(
            f"must have '{absent[0]}' of one picture, as an inpainting run's lines have: correct --inpainted_dir"
        )
    source = Path(line.entry["image"])
    if not source.is_file():
        raise line.fault(
            f"'{source}', which was painted into, does not exist: put it back, or start where it was painted from"
        )
    if hashlib.sha256(source.read_bytes()).hexdigest() != line.entry["image_sha256"]:
        raise line.fault(f"'{source}' has changed since it was painted into: put it back, or paint the image again")
    return source


def _painted(path: Path) -> np.ndarray:
    """Read what the run wrote."""
    try:
        return read_picture(path)
    except DataError as error:
        raise DataError(f"'{path}' is missing or not a readable image: paint it again") from error


def _channels_first(pixels: Tensor) -> Tensor:
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
