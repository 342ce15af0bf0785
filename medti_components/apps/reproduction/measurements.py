# SPDX-License-Identifier: Apache-2.0
"""What was measured on the images of a figure, beside what the paper says of it, and how a classifier sees them."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from medti_components.apps.reproduction.quality_table import estimate_of
from medti_components.evaluation.classifier_comparison import classify_images
from medti_components.evaluation.findings.finding_concepts import FindingConcepts
from medti_components.evaluation.findings.judged_images import InpaintedImages, InterpolatedImages
from medti_components.files import write_text_atomically
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.prompt_fidelity import InpaintingFidelity, InterpolationTrend, inpainting_fidelity
from medti_components.networks.finding_classifier import FindingClassifier


@dataclass(frozen=True)
class Measurement:
    """A metric of a figure's images, None where it was not measured, and the paper's statement."""

    name: str
    metric: IntervalEstimate | None
    paper: str = ""


def write_measurements(folder: Path, name: str, rows: Sequence[Measurement]) -> Iterator[str]:
    """Write ``<name>.csv`` and ``.md``, and yield the table.

    Raises:
        OutputError: they can't be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["metric", "value", "low", "high", "n", "paper"])
    lines = ["| metric | value [95 % interval] | n | paper |", "|---|---|---|---|"]
    for row in rows:
        metric = row.metric
        n = "" if metric is None else ", ".join(f"{count} {group}" for group, count in metric.counts.items())
        ends = ["", "", ""] if metric is None else [f"{x:.6g}" for x in (metric.value, metric.low, metric.high)]
        writer.writerow([row.name, *ends, n, row.paper])
        lines.append(f"| {row.name} | {metric or 'not measured'} | {n} | {row.paper} |")
    write_text_atomically(folder / f"{name}.csv", text.getvalue())
    table = "\n".join(lines) + "\n"
    write_text_atomically(folder / f"{name}.md", table)
    yield f"\n{table}"
    yield f"{name}.csv, {name}.md in {folder}"


def metrics_estimate(path: Path, *keys: str) -> IntervalEstimate | None:
    """Return a metric of ``metrics.json``, None where there is none."""
    found: Any = json.loads(path.read_text(encoding="utf-8"))
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
