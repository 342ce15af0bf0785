# SPDX-License-Identifier: Apache-2.0
"""What a classifier does on cases that it never saw."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix
from torch import Tensor

from medti_components.data.classification.classified_cases import ClassifiedCases
from medti_components.data.classification.classifier_images import check_unseen
from medti_components.errors import ConfigError
from medti_components.evaluation.evaluation import EvaluatedImages, EvaluationPart, Images, PartResult
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.prompt_fidelity import DetectionRate
from medti_components.metrics.roc_auc import Calibration, RocAuc
from medti_components.networks.image_classifier import classifier_facts
from medti_components.visualize.picture_grid import grid_png, named_channels
from medti_components.visualize.plots import calibration_plot, operating_point_plot
from medti_components.visualize.report import Block, Picture, Section
from medti_components.visualize.tables import Table, metrics_table

logger = logging.getLogger(__name__)


class ClassifierPerformance(EvaluationPart):
    """AUC, sensitivity, specificity, accuracy, calibration and confusion on the images of ``reference``.

    Args:
        classifier: file of the classifier.
        cases: the images of ``reference`` in their order, as classified by the time it is called.
        entries: the same cases, with patient_id.
        auc: on log-odds, its interval by bootstrap over patients.
        threshold: probability from which a case counts as positive.
        channel_names: what the channels hold, top row first; None for red, green and blue, shown in colour.
        num_pictures: missed positives, and false alarms, in the report.

    Raises:
        ConfigError: ``threshold`` is no probability.
    """

    needs_generated = False

    def __init__(
        self,
        classifier: str | Path,
        cases: ClassifiedCases,
        entries: Sequence[Mapping[str, Any]],
        auc: RocAuc | None = None,
        threshold: float = 0.5,
        channel_names: Sequence[str] | None = None,
        num_pictures: int = 8,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise ConfigError(f"detection_threshold must be a probability, 0 to 1, got {threshold:g}")
        self.classifier = Path(classifier)
        self.cases = cases
        self.entries = entries
        self.auc = auc or RocAuc()
        self.threshold = threshold
        self.channel_names = channel_names
        self.num_pictures = num_pictures

    def check(self, images: EvaluatedImages) -> None:
        """Check that no test case is of a patient that the classifier knows.

        Raises:
            DataError: one is, by the ``cases.csv`` beside the classifier.
        """
        check_unseen(self.classifier, self.entries)

    def __call__(self, images: EvaluatedImages) -> PartResult:
        """Measure."""
        truth, said = self.cases.is_positive, self.cases.probabilities >= self.threshold
        share = DetectionRate(self.threshold)
        calibration = Calibration(truth.numpy(), self.cases.probabilities.numpy())
        confusion = confusion_matrix(truth.numpy(), said.numpy(), labels=[False, True])
        patients = [
            [patient for patient, own in zip(self.cases.patient_ids, group.tolist(), strict=True) if own]
            for group in (truth, ~truth)
        ]
        auc = self.auc(self.cases.log_odds[truth], self.cases.log_odds[~truth], (patients[0], patients[1]))
        rates = {
            "sensitivity": share.of_outcomes(said[truth]),
            "specificity": share.of_outcomes(~said[~truth]),
            "accuracy": share.of_outcomes(said == truth),
        }
        facts = classifier_facts(self.classifier)
        metrics = {
            "auc": auc,
            **rates,
            "brier_score": calibration.brier_score,
            "expected_calibration_error": calibration.expected_error,
            "confusion": {
                "threshold": self.threshold,
                "classes": list(self.cases.classes),
                "rows": "true class",
                "columns": "said class",
                "counts": confusion.tolist(),
            },
            "num_patients": len(set(self.cases.patient_ids)),
            "classifier": facts,
        }
        sections = [
            self._separation(auc, truth, said),
            self._confusion(rates, confusion),
            _calibration(calibration),
            self._mistakes(images.reference, truth, said),
        ]
        return PartResult(None, metrics, sections, settings=facts)

    def _separation(self, auc: IntervalEstimate, truth: Tensor, said: Tensor) -> Section:
        negative, positive = self.cases.classes
        return Section(
            "Are the classes told apart?",
            [
                f"Area under the ROC curve of {positive} against {negative} on test cases; 0.5 is chance, 1 is "
                "perfect.",
                metrics_table([("test cases", auc)], "AUC"),
                Picture(
                    operating_point_plot(truth, self.cases.log_odds, said),
                    f"ROC curve; the point is at a probability of {self.threshold:g}",
                ),
            ],
        )

    def _confusion(self, rates: Mapping[str, IntervalEstimate], confusion: NDArray[np.int64]) -> Section:
        counts = [
            [f"true {name}", *map(str, row)] for name, row in zip(self.cases.classes, confusion.tolist(), strict=True)
        ]
        return Section(
            "Which is taken for which?",
            [
                f"A case counts as positive from a probability of {self.threshold:g}.",
                Table(["", *(f"said {name}" for name in self.cases.classes)], counts),
                metrics_table(list(rates.items()), "share", "figure"),
            ],
        )

    def _mistakes(self, images: Images, truth: Tensor, said: Tensor) -> Section:
        """Pictures of the missed positives and the false alarms, the worst first."""
        probabilities = self.cases.probabilities
        rows = "" if self.channel_names is None else f" Rows: {', '.join(self.channel_names)}."
        blocks: list[Block] = []
        for name, wrong, worst_first in (
            ("Missed positives", truth & ~said, probabilities),
            ("False alarms", ~truth & said, -probabilities),
        ):
            indices = [index for index in worst_first.argsort().tolist() if wrong[index]]
            shown = indices[: self.num_pictures]
            if not shown:
                blocks.append(f"{name}: none.")
                continue
            columns = [named_channels(images[index]["image"], self.channel_names) for index in shown]
            said_of = ", ".join(f"{self.cases.study_ids[index]} ({probabilities[index]:.2f})" for index in shown)
            caption = f"{name}, {len(shown)} of {len(indices)}, the worst first: {said_of}.{rows}"
            blocks.append(Picture(grid_png(columns, in_colour=self.channel_names is None), caption, name))
        return Section("Mistakes", blocks)


def _calibration(calibration: Calibration) -> Section:
    return Section(
        "Are the probabilities what they say?",
        [
            f"Expected calibration error {calibration.expected_error:.3g} (0 is perfect), Brier score "
            f"{calibration.brier_score:.3g} (0 is perfect, 0.25 that of saying 0.5 always).",
            Picture(calibration_plot(calibration), "Calibration: share of positives among cases of like probability"),
        ],
    )
