# SPDX-License-Identifier: Apache-2.0
"""Figures and pictures of an evaluation in one HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from matplotlib.figure import Figure
from sklearn.metrics import roc_curve
from torch import Tensor
from torch.utils.data import Dataset

from medti_components.evaluation.classified_images import ClassifiedImages
from medti_components.visualize.report_page import (
    FURTHER_SECTIONS,
    HOW_TO_READ,
    figures_table,
    grid_png,
    picture,
    plot_png,
    report_page,
    settings_table,
)

Images = Dataset[dict[str, Any]]

_WORDS = {
    "real": "held-out real images",
    "generated": "generated images",
    "initial rows": "images from the initial rows, before training",
    "more real": "other real images",
    "ratio to initial rows": "generated / initial rows",
}


class EvaluationReport:
    """Render an evaluation as HTML: tables with n and interval, ROC curves, and generated beside real images.

    Args:
        concepts: tokens of the negative and the positive concept, in this order.
        channel_names: what the image channels hold, top row first; None for red, green and blue, shown in colour.
        num_pictures: images of each kind and concept.
    """

    def __init__(
        self, concepts: Sequence[str], channel_names: Sequence[str] | None = None, num_pictures: int = 8
    ) -> None:
        self.concepts = list(concepts)
        self.channel_names = None if channel_names is None else list(channel_names)
        self.num_pictures = num_pictures

    def render(
        self,
        metrics: Mapping[str, Any],
        seen: Mapping[str, ClassifiedImages],
        sets: Mapping[str, Images],
        settings: Mapping[str, Any],
    ) -> str:
        """Return the page.

        Args:
            metrics: "auc" by set, "kid" by concept and set, as ``IntervalEstimate``.
            seen: the sets as the classifier saw them.
            sets: the images themselves, items with "image" (3, H, W) in [-1, 1] and "concept".
            settings: shown as they are.
        """
        rows = "" if self.channel_names is None else f"Rows: {escape(', '.join(self.channel_names))}. "
        parts = [HOW_TO_READ, f"<h2>Pictures</h2><p>{rows}The first images, unselected.</p>"]
        for concept in self.concepts:
            for name, images in sets.items():
                if name != "more real":
                    caption = f"{concept}: {_WORDS[name]}"
                    parts.append(picture(self._pictures_png(images, concept), caption))
        parts += [
            "<h2>Is the finding seen?</h2>",
            "<p>A classifier trained on other real images, which has seen no generated one, scores each image. The "
            "figure is the chance that it finds an image of "
            f"{escape(self.concepts[1])} more suspicious than one of {escape(self.concepts[0])} (area under the ROC "
            "curve): 0.5 is guessing, 1 is perfect. Generated images carry the finding as real ones do where both "
            "figures agree.</p>",
            figures_table([(_WORDS[name], figure) for name, figure in metrics["auc"].items()], "AUC"),
            picture(_roc_png(seen, self.concepts), "ROC curves", "ROC curves of the classifier"),
            "<h2>How far from real images are generated ones, as the classifier sees them?</h2>",
            "<p>Kernel inception distance (KID) to held-out real images on the classifier's features: zero for equal "
            "distributions, also at few images. Other real images at their own n show what is reachable.</p>",
        ]
        for concept, figures in metrics["kid"].items():
            parts += [
                f"<h3>{escape(concept)}</h3>",
                figures_table([(_WORDS[name], figure) for name, figure in figures.items()], "KID"),
            ]
        parts += [FURTHER_SECTIONS, "<h2>Settings</h2>", settings_table(settings)]
        real, generated = (metrics["auc"][name] for name in ("real", "generated"))
        summary = (
            f"A classifier trained on real images tells generated images with the finding from those without by an AUC "
            f"of {generated}, held-out real ones by {real} (0.5 is guessing, 1 is perfect)."
        )
        return report_page("Generated images beside real ones", parts, summary=[summary])

    def _pictures_png(self, images: Images, concept: str) -> bytes:
        """The first images of a concept, a column each: in colour, or a row a channel."""
        columns: list[Tensor] = []
        for index in range(len(images)):  # type: ignore[arg-type]
            item = images[index]
            if item["concept"] == concept:
                columns.append(item["image"][: 3 if self.channel_names is None else len(self.channel_names)])
            if len(columns) == self.num_pictures:
                break
        return grid_png(columns, in_colour=self.channel_names is None)


def _roc_png(seen: Mapping[str, ClassifiedImages], concepts: Sequence[str]) -> bytes:
    figure = Figure(figsize=(5, 6), layout="constrained")
    axes = figure.subplots()
    for name, images in seen.items():
        truth = [concept == concepts[1] for concept in images.concepts]
        false_positive, true_positive, _ = roc_curve(truth, images.log_odds.numpy())
        axes.plot(false_positive, true_positive, label=_WORDS[name])
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
    figure.legend(loc="outside lower center")
    return plot_png(figure)
