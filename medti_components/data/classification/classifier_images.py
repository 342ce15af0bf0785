# SPDX-License-Identifier: Apache-2.0
"""Real and synthetic images that a classifier learns from, and a table of them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from medti_components.data.classification.case_table import COLUMNS, write_case_table
from medti_components.data.classification.classifier_splits import checked_half
from medti_components.data.datasets.classifier_datalist import renamed_keys
from medti_components.data.datasets.finding_datalist import checked_classes
from medti_components.data.generated.generated_images import GeneratedImages
from medti_components.errors import ConfigError

Images = Dataset[dict[str, Any]]
Cases = Sequence[Mapping[str, Any]]


def synthetic_images(
    synthetic_dir: str | Path | None, concepts: Sequence[str], image_size: int, num_synthetic: int, seed: int
) -> GeneratedImages | None:
    """Return ``num_synthetic`` images of a generating run, half of each class, drawn by ``seed``; None for 0.

    Args:
        synthetic_dir: ``output_dir`` of a generating run, or a folder of several runs' ones.
        concepts: tokens of the two classes; the one in an image's prompt is its class.
        image_size: height and width, in pixels.
        num_synthetic: an even number; the first of many are those of few.
        seed: of the draw.

    Raises:
        ConfigError: a key does not fit.
        DataError: the folder lacks images, or as :class:`GeneratedImages` raises it.
    """
    tokens = checked_classes(concepts)
    half = checked_half("num_synthetic", num_synthetic)
    if half == 0:
        return None
    if synthetic_dir is None:
        raise ConfigError(
            f"synthetic_dir must be the output_dir of a generating run for num_synthetic {num_synthetic}, got None: "
            "set --synthetic_dir, or --num_synthetic 0"
        )
    with renamed_keys({"image_size": "classifier_image_size"}):
        return GeneratedImages(
            synthetic_dir, tokens, image_size, half, "synthetic_dir", seed, "num_synthetic", counts_all=True
        )


class ClassifierImages(Dataset[dict[str, Any]]):
    """Real images first, then synthetic ones; items {"image": float32 (3, H, W) in [-1, 1], "label": 0 or 1}.

    Args:
        real: items with image, label, concept, patient_id and study_id, as ``PreparedImages`` has them.
        synthetic: items with image, label, concept and file, or None.
        validation: real cases that decide which weights are kept, for the table alone.

    Raises:
        ConfigError: there is no image.
    """

    def __init__(self, real: Images, synthetic: Images | None, validation: Cases = ()) -> None:
        self.real = real
        self.synthetic = synthetic
        self.validation = validation
        if len(self) == 0:
            raise ConfigError("num_real and num_synthetic must not both be 0: set --num_real or --num_synthetic")

    @property
    def num_real(self) -> int:
        """Number of real images."""
        return len(self.real)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self.num_real + (0 if self.synthetic is None else len(self.synthetic))  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index < self.num_real:
            item = self.real[index]
        elif self.synthetic is not None and index < len(self):
            item = self.synthetic[index - self.num_real]
        else:
            raise IndexError(index)
        return {"image": item["image"], "label": item["label"]}

    def rows(self) -> list[dict[str, str]]:
        """Return a line of the table for each training and validation image."""
        real = [_row("training", "real", self.real[index]) for index in range(self.num_real)]
        synthetic = [
            _row("training", "synthetic", self.synthetic[index])  # type: ignore[index]
            for index in range(len(self) - self.num_real)
        ]
        return real + synthetic + [_row("validation", "real", case) for case in self.validation]

    @property
    def fingerprint(self) -> str:
        """A sha256 hex digest that is the same for the same images in the same order."""
        return hashlib.sha256(json.dumps(self.rows()).encode()).hexdigest()

    def write_table(self, folder: str | Path) -> None:
        """Write ``cases.csv``: split, source, concept, patient_id and study_id (of a synthetic image, its file)."""
        write_case_table(folder, self.rows())


def _row(split: str, source: str, item: Mapping[str, Any]) -> dict[str, str]:
    place = item["study_id"] if source == "real" else item["file"]
    values = (split, source, item["concept"], item.get("patient_id", ""), place)
    return dict(zip(COLUMNS, map(str, values), strict=True))
