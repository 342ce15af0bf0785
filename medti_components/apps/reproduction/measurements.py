# SPDX-License-Identifier: Apache-2.0
"""Metrics of evaluations and of a figure's images, and how the classifier of an evaluation sees images."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from medti_components.apps.reproduction.bundle_runs import Step
from medti_components.evaluation.classifier_comparison import classify_images
from medti_components.evaluation.findings.finding_concepts import FindingConcepts
from medti_components.evaluation.findings.judged_images import InpaintedImages, InterpolatedImages
from medti_components.files import write_csv_atomically, write_text_atomically
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.prompt_fidelity import InpaintingFidelity, InterpolationTrend, inpainting_fidelity
from medti_components.networks.finding_classifier import FindingClassifier
from medti_components.visualize.tables import listed_counts, markdown_table


def mean_estimate(estimates: Sequence[IntervalEstimate]) -> IntervalEstimate:
    """Return the mean of independent metrics; each side of the intervals adds up in quadrature.

    >>> a, b = (IntervalEstimate(value, value - 3, value + 4, {"images": 9}, "exact") for value in (1.0, 3.0))
    >>> mean = mean_estimate([a, b])
    >>> mean.value, round(mean.value - mean.low, 3), dict(mean.counts)  # 3 / sqrt(2)
    (2.0, 2.121, {'images': 18})
    """
    value = math.fsum(each.value for each in estimates) / len(estimates)
    below = math.hypot(*(each.value - each.low for each in estimates)) / len(estimates)
    above = math.hypot(*(each.high - each.value for each in estimates)) / len(estimates)
    counts = Counter[str]()
    for each in estimates:
        counts.update(each.counts)
    method = f"mean of {len(estimates)}, intervals in quadrature"
    return IntervalEstimate(value, value - below, value + above, dict(counts), method, estimates[0].confidence)


def difference_estimate(metric: IntervalEstimate, other: IntervalEstimate) -> IntervalEstimate:
    """Return ``metric - other``, as if they were independent; they share real images, so the interval is wide.

    >>> a, b = IntervalEstimate(5.0, 2.0, 8.0, {"images": 9}, "exact"), IntervalEstimate(1.0, -3.0, 5.0, {}, "exact")
    >>> print(difference_estimate(a, b))  # 4 -+ 5
    4.000 [-1.000, 9.000]
    """
    value = metric.value - other.value
    below = math.hypot(metric.value - metric.low, other.high - other.value)
    above = math.hypot(metric.high - metric.value, other.value - other.low)
    method = "intervals in quadrature"
    return IntervalEstimate(value, value - below, value + above, metric.counts, method, metric.confidence)


def estimate_of(metric: Mapping[str, Any] | None) -> IntervalEstimate | None:
    """Return a metric of ``metrics.json``.

    >>> metric = {"value": 0.5, "interval": [0.4, 0.6], "confidence": 0.95, "method": "exact", "n": {"images": 9}}
    >>> print(estimate_of(metric), estimate_of(None))
    0.500 [0.400, 0.600] None
    """
    if metric is None:
        return None
    low, high = metric["interval"]
    return IntervalEstimate(metric["value"], low, high, metric["n"], metric["method"], metric["confidence"])


@dataclass(frozen=True)
class Measurement:
    """A metric of a figure's images, None where it was not measured, and the paper's statement."""

    name: str
    metric: IntervalEstimate | None
    paper: str = ""


def write_measurements(folder: Path, name: str, rows: Sequence[Measurement]) -> None:
    """Write ``<name>.csv`` and ``.md``.

    Raises:
        OutputError: they can't be written.
    """
    lines, cells = [], []
    for row in rows:
        metric = row.metric
        n = "" if metric is None else listed_counts(metric)
        ends = ["", "", ""] if metric is None else [f"{x:.6g}" for x in (metric.value, metric.low, metric.high)]
        lines.append([row.name, *ends, n, row.paper])
        cells.append([row.name, str(metric or "not measured"), n, row.paper])
    write_csv_atomically(folder / f"{name}.csv", ["metric", "value", "low", "high", "n", "paper"], lines)
    table = markdown_table(["metric", "value [95 % interval]", "n", "paper"], cells)
    write_text_atomically(folder / f"{name}.md", table)


def metric_of(evaluation: Step, *keys: str) -> IntervalEstimate | None:
    """Return a metric that an evaluating step found, None where it found none or is not done."""
    if not evaluation.is_done:
        return None
    found: Any = json.loads(evaluation.result.read_text(encoding="utf-8"))
    for key in keys:
        found = (found or {}).get(key)
    return estimate_of(found)


class TwoClassView:
    """How the classifier of an evaluation sees images between two words, and images that the second is painted into.

    Args:
        classifier: ``classifier.safetensors`` of an evaluating run.
        concepts: the word of its class 0 and the one of class 1.
        image_size: of the images that it was trained on, in pixels.
    """

    def __init__(self, classifier: Path, concepts: Sequence[str], image_size: int) -> None:
        self.network = FindingClassifier()
        self.network.load_state_dict(load_file(classifier))
        self.findings = FindingConcepts(concepts[0], (concepts[1],), (concepts[1],))
        self.image_size = image_size

    def trend(self, interpolated_dir: Path) -> IntervalEstimate:
        """Return Spearman's correlation of the log-odds of class 1 with its weight along each row.

        Raises:
            DataError: the images do not fit.
        """
        images = InterpolatedImages(interpolated_dir, self.findings, self.image_size)
        (rows,) = images.rows
        return InterpolationTrend()(classify_images(self.network, images).log_odds[rows.indices], rows.weights)

    def painted(self, inpainted_dir: Path) -> InpaintingFidelity:
        """Return whether class 1 is seen after painting where it was not before, and what changed outside the mask.

        Raises:
            DataError: the images do not fit.
        """
        images = InpaintedImages(inpainted_dir, self.findings, self.image_size)
        items = [images[index] for index in range(len(images))]
        before, after = (
            classify_images(self.network, [{"image": item[key], "concept": ""} for item in items])  # type: ignore[arg-type]
            for key in ("before", "image")
        )
        changes = torch.tensor([item["change_outside"] for item in items])
        return inpainting_fidelity(changes, before.log_odds.sigmoid(), after.log_odds.sigmoid())
