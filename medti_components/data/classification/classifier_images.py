# SPDX-License-Identifier: Apache-2.0
"""Real and synthetic images that a classifier learns from, the table of them, and their batches."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose
from torch import Tensor
from torch.utils.data import Dataset

from medti_components.data.classification.classifier_splits import checked_classes, checked_half
from medti_components.data.datasets.splits import check_patients_apart
from medti_components.data.datasets.tables import table_rows
from medti_components.data.generated.generated_images import GeneratedImages
from medti_components.data.latent_cache import image_hash
from medti_components.errors import ConfigError, DataError
from medti_components.files import write_text_atomically
from medti_components.random_streams import random_stream, stream_seed

CASES_FILE = "cases.csv"
COLUMNS = ("split", "source", "concept", "patient_id", "study_id")

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
    return GeneratedImages(
        synthetic_dir,
        tokens,
        image_size,
        half,
        "synthetic_dir",
        seed,
        "num_synthetic",
        counts_all=True,
        size_key="classifier_image_size",
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
        images = [image_hash(torch.as_tensor(self[index]["image"])) for index in range(len(self))]
        return hashlib.sha256(json.dumps([self.rows(), images]).encode()).hexdigest()

    def write_table(self, folder: str | Path) -> None:
        """Write ``cases.csv``: split, source ('real' or 'synthetic'), concept, patient_id, study_id (or file).

        Raises:
            OutputError: the file can't be written.
        """
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        write_text_atomically(Path(folder) / CASES_FILE, table.getvalue())


def check_unseen(classifier: str | Path, test: Sequence[Mapping[str, Any]]) -> None:
    """Check that no test case is of a patient in the table beside a classifier, where there is one.

    Args:
        classifier: the file of weights.
        test: entries with patient_id.

    Raises:
        DataError: the table can't be read, or a patient is in it.
    """
    path = Path(classifier).parent / CASES_FILE
    if not path.is_file():
        return
    known: dict[str, list[Mapping[str, Any]]] = {"training": [], "validation": []}
    for row in table_rows(path, COLUMNS, "train the classifier again"):
        if row.meaning("source", {"real": True, "synthetic": False}) is not False:
            split = row.meaning("split", {split: split for split in known}) or "training"
            known[split].append(row)
    try:
        check_patients_apart({**known, "test": test})
    except DataError as error:
        what, _, _ = str(error).partition(":")
        raise DataError(
            f"{what} of '{classifier}': set --split_seed and the numbers of cases as in training (where another data "
            f"set merely numbers its patients alike, move '{path}' away)"
        ) from error


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


def _row(split: str, source: str, item: Mapping[str, Any]) -> dict[str, str]:
    place = item["study_id"] if source == "real" else item["file"]
    values = (split, source, item["concept"], item.get("patient_id", ""), place)
    return dict(zip(COLUMNS, map(str, values), strict=True))
