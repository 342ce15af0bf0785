# SPDX-License-Identifier: Apache-2.0
import csv
import json

import torch
from generated_runs import write_inpainting, write_interpolation
from safetensors.torch import save_file

from medti_components.apps.reproduction.bundle_runs import Step
from medti_components.apps.reproduction.measurements import Measurement, TwoClassView, metric_of, write_measurements
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.networks.finding_classifier import FindingClassifier

WORDS = ("<prostate_mri_negative>", "<prostate_mri_positive>")


def test_metrics_beside_what_the_paper_says(tmp_path) -> None:
    rows = [
        Measurement("seen", IntervalEstimate(0.5, 0.25, 0.75, {"images": 8}, "exact"), "it works"),
        Measurement("other", None),
    ]
    write_measurements(tmp_path, "figure9", rows)
    text = (tmp_path / "figure9.md").read_text()
    assert "| seen | 0.500 [0.250, 0.750] | 8 images | it works |" in text
    assert "| other | not measured |  |  |" in text
    with open(tmp_path / "figure9.csv", newline="") as file:
        assert [*csv.DictReader(file)][0]["high"] == "0.75"


def test_a_metric_of_an_evaluation_or_none(tmp_path) -> None:
    evaluation = Step("evaluating", tmp_path, ())
    assert metric_of(evaluation, "interpolation", "all") is None  # not done
    metric = {"value": 0.5, "interval": [0.4, 0.6], "confidence": 0.95, "method": "exact", "n": {"rows": 9}}
    (tmp_path / "metrics.json").write_text(json.dumps({"interpolation": {"all": metric, "none": None}}))
    assert metric_of(evaluation, "interpolation", "all").high == 0.6
    assert metric_of(evaluation, "interpolation", "none") is None
    assert metric_of(evaluation, "inpainting", "all", "seen_inside") is None


def test_a_classifier_of_two_classes_judges_rows_and_paintings(tmp_path) -> None:
    network = FindingClassifier()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([0.0, 3.0]))  # sees the finding in everything
    save_file(network.state_dict(), tmp_path / "classifier.safetensors")
    view = TwoClassView(tmp_path / "classifier.safetensors", WORDS, 32)
    trend = view.trend(write_interpolation(tmp_path / "rows", *WORDS))
    assert trend.value == 0.0 and dict(trend.counts) == {"rows": 2}  # a score that never changes has no trend
    painted = view.painted(write_inpainting(tmp_path / "painted", [WORDS[1]] * 3))
    assert painted.seen_inside is None and painted.num_seen_before == 3
    assert painted.unchanged_outside.value == 1.0
