# SPDX-License-Identifier: Apache-2.0
"""Cases with the probability of each class that a classifier gives them."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medti_components.errors import DataError
from medti_components.files import write_text_atomically
from medti_components.networks.embedding_files.embedding_file import concept_name

PROBABILITIES_FILE = "probabilities.csv"


@dataclass
class ClassifiedCases:
    """Cases in the order in which they came, and the classes.

    Args:
        classes: tokens of the negative and the positive class.

    Attributes:
        study_ids: study or picture of each case.
        patient_ids: its patient, "" where there is none.
        concepts: its true class, "" where that is not known.
        log_odds: of the positive class, float64 (n,); they rank as probabilities do, without ties by rounding.

    >>> cases = ClassifiedCases(["<a_negative>", "<a_positive>"])
    >>> cases.add({"study_id": ["1"], "patient_id": ["7"]}, torch.tensor([[0.0, 0.0]]))
    >>> cases.probabilities
    tensor([0.5000], dtype=torch.float64)
    """

    classes: Sequence[str]
    study_ids: list[str] = field(default_factory=list)
    patient_ids: list[str] = field(default_factory=list)
    concepts: list[str] = field(default_factory=list)
    log_odds: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.double))

    def __len__(self) -> int:
        return len(self.study_ids)

    def add(self, batch: dict[str, Any], logits: Tensor) -> None:
        """Take a batch of cases and their logits (B, 2)."""
        self.study_ids += map(str, batch["study_id"])
        self.patient_ids += map(str, batch["patient_id"])
        self.concepts += batch.get("concept", [""] * len(logits))
        own = logits.detach().double().cpu()
        self.log_odds = torch.cat([self.log_odds, own[:, 1] - own[:, 0]])

    @property
    def probabilities(self) -> Tensor:
        """Of the positive class, float64 (n,) in [0, 1]."""
        return self.log_odds.sigmoid()

    @property
    def is_positive(self) -> Tensor:
        """Whether the true class is the positive one, bool (n,)."""
        return torch.tensor([concept == self.classes[1] for concept in self.concepts], dtype=torch.bool)

    @classmethod
    def read_table(cls, path: str | Path, classes: Sequence[str]) -> "ClassifiedCases":
        """Read back what :meth:`write_table` wrote, to nine digits.

        Raises:
            DataError: the file is missing, or is not of these classes and with the true class of each case.
        """
        names = [concept_name(token) for token in classes]
        columns = ["study_id", "patient_id", *names, "true_class"]
        try:
            with open(path, newline="", encoding="utf-8") as file:
                table = csv.DictReader(file)
                if table.fieldnames != columns:
                    raise DataError(
                        f"'{path}' must have the columns {', '.join(columns)}: evaluate the classifier again"
                    )
                rows = [*table]
            both = [torch.tensor([float(row[name]) for row in rows], dtype=torch.double) for name in names]
        except (OSError, ValueError) as error:
            raise DataError(f"'{path}' can't be read ({error}): evaluate the classifier again") from error
        negative, positive = (values.clamp_min(torch.finfo(torch.double).tiny).log() for values in both)
        tokens = dict(zip(names, classes, strict=True))
        return cls(
            classes,
            [row["study_id"] for row in rows],
            [row["patient_id"] for row in rows],
            [tokens.get(row["true_class"], "") for row in rows],
            positive - negative,
        )

    def write_table(self, folder: str | Path) -> None:
        """Write ``probabilities.csv``: study_id, patient_id, probability of each class; true class where it is known.

        Raises:
            OutputError: the file can't be written.
        """
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        names = [concept_name(token) for token in self.classes]
        has_truth = any(self.concepts)
        writer.writerow(["study_id", "patient_id", *names, *(["true_class"] if has_truth else [])])
        probabilities = zip((-self.log_odds).sigmoid().tolist(), self.probabilities.tolist(), strict=True)
        cases = zip(self.study_ids, self.patient_ids, probabilities, self.concepts, strict=True)
        for study, patient, both, concept in cases:
            truth = [concept_name(concept)] if has_truth else []
            writer.writerow([study, patient, *(f"{probability:.9g}" for probability in both), *truth])
        write_text_atomically(Path(folder) / PROBABILITIES_FILE, table.getvalue())
