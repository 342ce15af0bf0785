# SPDX-License-Identifier: Apache-2.0
"""Figures and pictures of an evaluation of several findings in one HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from medti_components.evaluation.findings.finding_concepts import FindingConcepts
from medti_components.evaluation.findings.finding_scores import FindingScores
from medti_components.evaluation.findings.inpainted_images import InpaintedImages
from medti_components.evaluation.findings.interpolated_images import InterpolatedImages, InterpolatedRows
from medti_components.metrics.inpainting_fidelity import InpaintingFidelity
from medti_components.metrics.interval_estimate import IntervalEstimate
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

_WORDS = {"real": "held-out real images", "generated": "generated images", "composed": "composed images"}


class FindingReport:
    """Render an evaluation as HTML: tables with n and interval, interpolated rows as curves, and pictures.

    Args:
        findings: the words.
        num_pictures: images of each kind.
    """

    def __init__(self, findings: FindingConcepts, num_pictures: int = 8) -> None:
        self.findings = findings
        self.num_pictures = num_pictures

    def render(
        self,
        metrics: Mapping[str, Any],
        seen: Mapping[str, FindingScores],
        sets: Mapping[str, Any],
        interpolated: InterpolatedImages | None,
        inpainted: InpaintedImages | None,
        settings: Mapping[str, Any],
    ) -> str:
        """Return the page.

        Args:
            metrics: as ``FindingEvaluation`` has them, the figures as ``IntervalEstimate``.
            seen: the scores of the sets and of "interpolated".
            sets: images of "real" and, where they were judged, "generated" and "composed".
            interpolated: the rows, where they were judged.
            inpainted: the painted images, where they were judged.
            settings: shown as they are.
        """
        parts = [HOW_TO_READ, "<h2>Pictures</h2><p>The first images of each kind, unselected.</p>"]
        for name, images in sets.items():
            parts += self._pictures(_WORDS[name], images)
        parts += [
            "<h2>Single findings</h2>",
            "<p>A classifier trained on other real images, which has seen no generated one, scores each image. The "
            "figure is the chance that it finds an image of a finding more suspicious than one of "
            f"{escape(self.findings.negative)} (area under the ROC curve): 0.5 is guessing, 1 is perfect.</p>",
            _sets_table(metrics["auc"], "AUC"),
            "<h2>Are the findings seen that were asked for?</h2>",
            "<p>Share of images in which every finding is seen that they have or were asked for, whatever else is "
            "seen; then the share of images without a finding in which none is seen.</p>",
            _sets_table(metrics["detection"], "share"),
            figures_table(
                [(f"{_WORDS[name]} without a finding", each) for name, each in metrics["nothing_seen"].items()],
                "nothing seen",
            ),
        ]
        if interpolated is not None:
            parts += self._interpolation(metrics["interpolation"], seen["interpolated"], interpolated)
        if inpainted is not None:
            parts += self._inpainting(metrics["inpainting"], inpainted)
        parts += [FURTHER_SECTIONS, "<h2>Settings</h2>", settings_table(settings)]
        return report_page("Findings in generated images", parts, summary=_summary(metrics["detection"]))

    def _pictures(self, words: str, images: Any) -> list[str]:
        """The first images of each combination of findings, unselected."""
        first: dict[str, list[Tensor]] = {}
        for index in range(len(images)):
            item = images[index]
            own = first.setdefault(self.findings.named(item["label"]), [])
            if len(own) < self.num_pictures:
                own.append(item["image"][:1])
        return [picture(grid_png(columns), f"{words}: {name}") for name, columns in first.items()]

    def _interpolation(
        self, figures: Mapping[str, Any], scores: FindingScores, images: InterpolatedImages
    ) -> list[str]:
        parts = [
            "<h2>Interpolation</h2>",
            "<p>Spearman's correlation of the finding's log-odds with its weight along a row, mean over the rows. A "
            "row is one seed.</p>",
            figures_table(list(figures.items()), "mean correlation", "from and to"),
            picture(_curves_png(scores, images.rows, self.findings.names), "Log-odds along the rows, and their mean"),
        ]
        for rows in images.rows:
            shown = rows.indices[: max(1, self.num_pictures // 2)]
            columns = [torch.cat([images[int(index)]["image"][:1] for index in step]) for step in shown.T]
            parts.append(picture(grid_png(columns), f"{rows.name}: a row a seed, weights {_listed(rows.weights)}"))
        return parts

    def _inpainting(self, figures: Mapping[str, InpaintingFidelity], images: InpaintedImages) -> list[str]:
        largest = max(fidelity.largest_change_outside for fidelity in figures.values())
        parts = [
            "<h2>Inpainting</h2>",
            "<p>Share of images in which the finding is seen after and was not before, of those in which it was not "
            "before. What is seen is inside the mask, as nothing outside it may change: the largest change of a pixel "
            f"outside is {largest:g} grey levels.</p>",
            figures_table([(name, each.seen_inside) for name, each in figures.items()], "seen", "finding"),
            figures_table([(name, each.unchanged_outside) for name, each in figures.items()], "unchanged", "finding"),
        ]
        first: dict[str, list[Tensor]] = {}
        for index in range(len(images)):
            item = images[index]
            own = first.setdefault(item["concept"], [])
            if len(own) < self.num_pictures:
                size = item["image"].shape[-2:]
                weight = functional.interpolate(item["weight"][None, None], size, mode="area")[0] * 2 - 1
                own.append(torch.cat([item["before"][:1], weight, item["image"][:1]]))
        return parts + [
            picture(grid_png(columns), f"{name}: before, soft mask, after") for name, columns in first.items()
        ]


def _summary(detection: Mapping[str, Mapping[str, IntervalEstimate]]) -> list[str]:
    """Say of images with one, two, ... findings, of each set that was made, in how many all are seen."""
    sentences = []
    for name in ("generated", "composed"):
        for group, share in detection.get(name, {}).items():
            if group.endswith(("finding", "findings")):
                sentence = f"All that was asked for is seen in {share.value:.0%} of the {_WORDS[name]} with {group}"
                real = detection["real"].get(group)
                sentences.append(f"{sentence}{f', against {real.value:.0%} of real ones' if real else ''}.")
    return sentences


def _sets_table(figures: Mapping[str, Mapping[str, Any]], heading: str) -> str:
    rows = [(f"{_WORDS[name]}: {group}", each) for name, own in figures.items() for group, each in own.items()]
    return figures_table(rows, heading)


def _curves_png(scores: FindingScores, rows: Sequence[InterpolatedRows], names: Sequence[str]) -> bytes:
    figure = Figure(figsize=(4 * len(rows), 3.5), layout="constrained")
    for axes, each in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
        table = scores.log_odds[each.indices, each.finding].numpy()
        axes.plot(each.weights.numpy(), table.T, color="grey", alpha=0.4, linewidth=1)
        axes.plot(each.weights.numpy(), table.mean(axis=0), color="black")
        axes.set(xlabel=f"weight of {names[each.finding]}", ylabel="log-odds")
    return plot_png(figure)


def _listed(weights: Tensor) -> str:
    return ", ".join(f"{weight:g}" for weight in weights.tolist())
