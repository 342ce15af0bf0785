# SPDX-License-Identifier: Apache-2.0
"""Measure a classifier on test cases, and write figures and report."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sklearn.metrics import confusion_matrix
from torch.utils.data import Dataset

from medti_components.data.classification.classified_cases import ClassifiedCases
from medti_components.data.classification.classifier_images import check_unseen
from medti_components.data.generated.provenance import software_versions
from medti_components.errors import ConfigError
from medti_components.evaluation.classifier_report import ClassifierReport
from medti_components.files import write_text_atomically
from medti_components.metrics.calibration import Calibration
from medti_components.metrics.detection_rate import DetectionRate
from medti_components.metrics.interval_estimate import plain_figures
from medti_components.metrics.roc_auc import RocAuc
from medti_components.networks.image_classifier import classifier_facts

logger = logging.getLogger(__name__)


class ClassifierEvaluation:
    """AUC, sensitivity, specificity, accuracy, calibration and confusion, as ``metrics.json`` and ``report.html``.

    Args:
        classifier: file of the classifier.
        cases: filled by the time ``run`` is called.
        images: the test images, in the order of the cases.
        entries: the test cases, with patient_id.
        output_dir: folder for the two files.
        auc: on log-odds, its interval by bootstrap over patients.
        threshold: probability from which a case counts as positive.
        channel_names: as :class:`ClassifierReport` has them.
        num_pictures: missed positives, and false alarms, in the report.
        settings: recorded in ``metrics.json`` as they are.

    Raises:
        ConfigError: ``threshold`` is no probability.
    """

    def __init__(
        self,
        classifier: str | Path,
        cases: ClassifiedCases,
        images: Dataset[dict[str, Any]],
        entries: Sequence[Mapping[str, Any]],
        output_dir: str | Path,
        auc: RocAuc | None = None,
        threshold: float = 0.5,
        channel_names: Sequence[str] | None = None,
        num_pictures: int = 8,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise ConfigError(f"detection_threshold must be a probability, 0 to 1, got {threshold:g}")
        self.classifier = Path(classifier)
        self.cases = cases
        self.images = images
        self.entries = entries
        self.output_dir = Path(output_dir)
        self.auc = auc or RocAuc()
        self.threshold = threshold
        self.channel_names = channel_names
        self.num_pictures = num_pictures
        self.settings = dict(settings or {})

    def check(self) -> None:
        """Check that no test case is of a patient that the classifier knows.

        Raises:
            DataError: one is, by the ``cases.csv`` beside the classifier.
        """
        check_unseen(self.classifier, self.entries)

    def run(self) -> dict[str, Any]:
        """Measure, write ``metrics.json`` and ``report.html``, return the metrics."""
        truth, said = self.cases.is_positive, self.cases.probabilities >= self.threshold
        share = DetectionRate(self.threshold)
        calibration = Calibration(truth.numpy(), self.cases.probabilities.numpy())
        confusion = confusion_matrix(truth.numpy(), said.numpy(), labels=[False, True])
        patients = [
            [patient for patient, own in zip(self.cases.patient_ids, group.tolist(), strict=True) if own]
            for group in (truth, ~truth)
        ]
        metrics: dict[str, Any] = {
            "auc": self.auc(self.cases.log_odds[truth], self.cases.log_odds[~truth], (patients[0], patients[1])),
            "sensitivity": share.of_outcomes(said[truth]),
            "specificity": share.of_outcomes(~said[~truth]),
            "accuracy": share.of_outcomes(said == truth),
        }
        document = {
            **plain_figures(metrics),
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
            "classifier": classifier_facts(self.classifier),
            "settings": self.settings,
            "versions": software_versions(),
        }
        report = ClassifierReport(self.cases, self.images, self.threshold, self.channel_names, self.num_pictures)
        page = report.render(metrics, calibration, confusion, {**self.settings, **document["classifier"]})
        write_text_atomically(self.output_dir / "metrics.json", json.dumps(document, indent=2) + "\n")
        write_text_atomically(self.output_dir / "report.html", page)
        logger.info("AUC on %d test cases: %s", len(self.cases), metrics["auc"])
        logger.info("Report: %s", self.output_dir / "report.html")
        return document
