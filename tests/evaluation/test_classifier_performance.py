# SPDX-License-Identifier: Apache-2.0
import base64
import csv
import io
import json
import re

import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from medti_components.data.classification.classified_cases import ClassifiedCases
from medti_components.errors import ConfigError
from medti_components.evaluation.classifier_performance import ClassifierPerformance
from medti_components.evaluation.evaluation import EvaluatedImages, Evaluation
from medti_components.networks.image_classifier import new_classifier, save_classifier

CLASSES = ["<a_negative>", "<a_positive>"]
LOGITS = [-3.0, -1.0, 1.0, -0.5, 2.0, 4.0]  # of negatives, then of positives


@pytest.fixture
def evaluation(tmp_path):
    """Six cases of five patients: one false alarm and one missed positive at a threshold of one half."""
    save_classifier(tmp_path / "c.safetensors", new_classifier("small"), {}, {"num_real": 4})
    cases = ClassifiedCases(CLASSES)
    cases.add(
        {
            "study_id": [f"s{number}" for number in range(6)],
            "patient_id": ["p0", "p1", "p2", "p3", "p4", "p4"],
            "concept": [CLASSES[0]] * 3 + [CLASSES[1]] * 3,
        },
        torch.tensor([[0.0, value] for value in LOGITS]),
    )
    images = [{"image": torch.full((3, 8, 8), number / 5)} for number in range(6)]
    evaluated = EvaluatedImages(None, images, None, CLASSES, tmp_path / "out")

    def evaluation(settings=None, **more):
        part = ClassifierPerformance(tmp_path / "c.safetensors", cases, [{"patient_id": "p0"}], **more)
        return Evaluation(evaluated, [part], settings, warning="For research. Not for diagnosis.")

    return evaluation


def test_figures_are_those_of_the_cases(evaluation, tmp_path) -> None:
    metrics = evaluation(settings={"seed": 0}).run()
    assert metrics["auc"]["value"] == pytest.approx(roc_auc_score([0] * 3 + [1] * 3, LOGITS))
    assert metrics["auc"]["method"] == "stratified bootstrap over patients"
    assert metrics["confusion"]["counts"] == [[2, 1], [1, 2]]
    assert [metrics[name]["value"] for name in ("sensitivity", "specificity", "accuracy")] == pytest.approx([2 / 3] * 3)
    probabilities = torch.tensor(LOGITS).double().sigmoid()
    truth = torch.tensor([0, 0, 0, 1, 1, 1])
    assert metrics["brier_score"] == pytest.approx(float(((probabilities - truth) ** 2).mean()))
    assert metrics["num_patients"] == 5
    assert metrics["classifier"] == {"num_real": 4}
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == metrics


def test_report_shows_curves_and_the_worst_mistakes(evaluation, tmp_path) -> None:
    evaluation(channel_names=["t2w", "adc", "hbv"], settings={"where": "<here>"}).run()
    page = (tmp_path / "out" / "report.html").read_text()
    sources = re.findall(r'src="([^"]{0,22})', page)
    assert sources == ["data:image/png;base64,"] * 4  # ROC, calibration, a missed positive, a false alarm
    assert "Missed positives, 1 of 1, the worst first: s3 (0.38). Rows: t2w, adc, hbv." in page
    assert "False alarms, 1 of 1, the worst first: s2 (0.73). Rows: t2w, adc, hbv." in page
    assert "&lt;here&gt;" in page and "Not for diagnosis" in page and "Synthetic images" not in page
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall('base64,([^"]*)', page)]
    assert pictures[2].size == (128, 3 * 128)


def test_threshold_moves_the_confusion(evaluation) -> None:
    assert evaluation(threshold=0.8).run()["confusion"]["counts"] == [[3, 0], [1, 2]]
    assert evaluation(threshold=0.0).run()["confusion"]["counts"] == [[0, 3], [0, 3]]
    with pytest.raises(ConfigError, match="^detection_threshold must be a probability, 0 to 1, got -0.1$"):
        evaluation(threshold=-0.1)


def test_table_of_probabilities(evaluation, tmp_path) -> None:
    evaluation().parts[0].cases.write_table(tmp_path)
    with open(tmp_path / "probabilities.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert rows[0].keys() == {"study_id", "patient_id", "a_negative", "a_positive", "true_class"}
    assert float(rows[5]["a_positive"]) == pytest.approx(0.98201379, abs=1e-8)
    assert float(rows[5]["a_negative"]) == pytest.approx(1 - 0.98201379, abs=1e-8)
    assert rows[0]["true_class"] == "a_negative"
