# SPDX-License-Identifier: Apache-2.0
"""What a classifier does on cases that it never saw, in one HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve
from torch.utils.data import Dataset

from medti_components.data.classification.classified_cases import ClassifiedCases
from medti_components.metrics.calibration import Calibration
from medti_components.visualize.report_page import (
    figures_table,
    grid_png,
    picture,
    plot_png,
    report_page,
    settings_table,
)


class ClassifierReport:
    """Render a classifier's evaluation: figures with n and interval, ROC and calibration curves, confusion, mistakes.

    Args:
        cases: what was classified, with the truth.
        images: their images, in the same order, items with "image" (C, H, W) in [-1, 1].
        threshold: probability from which a case counts as positive.
        channel_names: what the channels hold, top row first; None for red, green and blue, shown in colour.
        num_pictures: missed positives, and false alarms, that are shown.
    """

    def __init__(
        self,
        cases: ClassifiedCases,
        images: Dataset[dict[str, Any]],
        threshold: float = 0.5,
        channel_names: Sequence[str] | None = None,
        num_pictures: int = 8,
    ) -> None:
        self.cases = cases
        self.images = images
        self.threshold = threshold
        self.channel_names = None if channel_names is None else list(channel_names)
        self.num_pictures = num_pictures

    def render(
        self,
        metrics: Mapping[str, Any],
        calibration: Calibration,
        confusion: NDArray[np.int64],
        settings: Mapping[str, Any],
    ) -> str:
        """Return the page.

        Args:
            metrics: "auc", "sensitivity", "specificity", "accuracy" as ``IntervalEstimate``.
            calibration: of the cases' probabilities.
            confusion: (true class, said class), negative first.
            settings: shown as they are.
        """
        rule = f"A case counts as positive from a probability of {self.threshold:g}."
        rates = [(name, metrics[name]) for name in ("sensitivity", "specificity", "accuracy")]
        negative, positive = map(escape, self.cases.classes)
        parts = [
            "<h2>Are the classes told apart?</h2>",
            f"<p>Area under the ROC curve of {positive} against {negative} on test cases; 0.5 is chance, 1 is "
            "perfect.</p>",
            figures_table([("test cases", metrics["auc"])], "AUC"),
            picture(self._roc_png(), f"ROC curve; the point is at a probability of {self.threshold:g}"),
            "<h2>Which is taken for which?</h2>",
            f"<p>{rule}</p>",
            self._confusion_table(confusion),
            figures_table(rates, "share", "figure"),
            "<h2>Are the probabilities what they say?</h2>",
            f"<p>Expected calibration error {calibration.expected_error:.3g} (0 is perfect), Brier score "
            f"{calibration.brier_score:.3g} (0 is perfect, 0.25 that of saying 0.5 always).</p>",
            picture(_calibration_png(calibration), "Calibration: share of positives among cases of like probability"),
            "<h2>Mistakes</h2>",
            *self._mistakes(),
            "<h2>Settings</h2>",
            settings_table(settings),
        ]
        return report_page("A classifier on unseen patients", parts, "For research. Not for diagnosis.")

    def _confusion_table(self, confusion: NDArray[np.int64]) -> str:
        names = [escape(token) for token in self.cases.classes]
        head = "".join(f"<th>said {name}</th>" for name in names)
        rows = [
            f"<tr><th>true {name}</th>{''.join(f'<td>{count}</td>' for count in counts)}</tr>"
            for name, counts in zip(names, confusion.tolist(), strict=True)
        ]
        return f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"

    def _mistakes(self) -> list[str]:
        """Pictures of the missed positives and the false alarms, the worst first."""
        probabilities, truth = self.cases.probabilities, self.cases.is_positive
        said = probabilities >= self.threshold
        rows = "" if self.channel_names is None else f" Rows: {escape(', '.join(self.channel_names))}."
        parts = []
        for name, wrong, worst_first in (
            ("Missed positives", truth & ~said, probabilities),
            ("False alarms", ~truth & said, -probabilities),
        ):
            indices = [index for index in worst_first.argsort().tolist() if wrong[index]]
            shown = indices[: self.num_pictures]
            if not shown:
                parts.append(f"<p>{name}: none.</p>")
                continue
            number = 3 if self.channel_names is None else len(self.channel_names)
            columns = [self.images[index]["image"][:number] for index in shown]
            said_of = ", ".join(f"{self.cases.study_ids[index]} ({probabilities[index]:.2f})" for index in shown)
            caption = f"{name}, {len(shown)} of {len(indices)}, the worst first: {said_of}.{rows}"
            parts.append(picture(grid_png(columns, in_colour=self.channel_names is None), caption, name))
        return parts

    def _roc_png(self) -> bytes:
        truth, said = self.cases.is_positive, self.cases.probabilities >= self.threshold
        false_positive, true_positive, _ = roc_curve(truth.numpy(), self.cases.log_odds.numpy())
        figure = Figure(figsize=(5, 5), layout="constrained")
        axes = figure.subplots()
        axes.plot(false_positive, true_positive)
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
        at = [float(said[group].double().mean()) for group in (~truth, truth)]
        axes.plot(*at, marker="o", color="C3")
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
        return plot_png(figure)


def _calibration_png(calibration: Calibration) -> bytes:
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.plot(calibration.means, calibration.shares, marker="o")
    for mean, share, count in zip(calibration.means, calibration.shares, calibration.counts, strict=True):
        axes.annotate(f"n={count}", (mean, share), textcoords="offset points", xytext=(6, -12), fontsize="small")
    axes.set(
        xlabel="mean probability", ylabel="share of positives", aspect="equal", xlim=(-0.05, 1.1), ylim=(-0.1, 1.05)
    )
    return plot_png(figure)
