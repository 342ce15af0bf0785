# SPDX-License-Identifier: Apache-2.0
"""Images before and after a finding was painted into them, as an inpainting run left them."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from medti_components.data.generated.generated_folder import GeneratedFolder, ProvenanceLine, sampling_conditions
from medti_components.data.requests.inpainting_input import read_picture
from medti_components.errors import DataError
from medti_components.evaluation.findings.composed_images import asked_label
from medti_components.evaluation.findings.finding_concepts import FindingConcepts
from medti_components.metrics.inpainting_fidelity import largest_change_outside


class InpaintedImages(Dataset[dict[str, Any]]):
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

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._items[index]

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
        is_painted = torch.from_numpy(weight > 0)
        return {
            "image": self._image(pixels["image"], line.path),
            "before": self._image(pixels["before"], source),
            "weight": torch.from_numpy(weight.astype(np.float32) / 255),
            "concept": findings.named(label),
            "label": label,
            "change_outside": largest_change_outside(_channels_first(before), _channels_first(after), is_painted[None]),
        }

    def _image(self, pixels: np.ndarray, path: Path) -> Tensor:
        highest = np.iinfo(pixels.dtype).max
        bytes_ = pixels if highest == 255 else np.rint(pixels / highest * 255).astype(np.uint8)
        return self.folder.scaled(Image.fromarray(bytes_).convert("RGB"), path)


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
