# SPDX-License-Identifier: Apache-2.0
"""Generated, composed, interpolated and inpainted images, judged by a classifier of several findings."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from medti_components.errors import ConfigError
from medti_components.evaluation.classifier_comparison import check_classifier_apart, save_classifier_weights
from medti_components.evaluation.evaluation import EvaluatedImages, EvaluationPart, Images, PartResult, items_of
from medti_components.evaluation.findings.finding_concepts import FindingConcepts
from medti_components.evaluation.findings.finding_metrics import (
    FindingScores,
    detection,
    nothing_seen,
    painted,
    score_findings,
    separation,
    trends,
)
from medti_components.evaluation.findings.judged_images import ComposedImages, InpaintedImages, InterpolatedImages
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.prompt_fidelity import DetectionRate, InpaintingFidelity, InterpolationTrend
from medti_components.metrics.roc_auc import RocAuc
from medti_components.networks.finding_classifier import FindingClassifier
from medti_components.visualize.picture_grid import grid_png
from medti_components.visualize.plots import curves_plot
from medti_components.visualize.report import HOW_TO_READ, Block, Picture, Section
from medti_components.visualize.tables import Table, metrics_table

_WORDS = {"real": "held-out real images", "generated": "generated images", "composed": "composed images"}


class FindingDetection(EvaluationPart):
    """What a classifier of several findings, trained on real images, sees in images of each kind, in five keys.

    - ``auc``: of each finding, images of it alone against images without a finding, held-out real and generated;
    - ``detection``: share of images in which every finding is seen that they have or were asked for, by combination
      and by the number of findings, held-out real, generated and composed; ``nothing_seen``: share of images without a
      finding in which none is seen;
    - ``interpolation``: Spearman's correlation of a finding's log-odds with its weight along a row;
    - ``inpainting``: share in which the finding is seen after and not before, and what changed outside the mask.

    The classifier's weights are left as ``classifier.safetensors``. The reference images have a label (findings,).

    Args:
        network: the classifier, one logit per finding, trained by the time it is called.
        findings: the words.
        training_images: real images that the classifier was trained on.
        composed: images of several findings, or None.
        interpolated: rows of images between two words, or None.
        inpainted: images that a finding was painted into, or None.
        auc: on log-odds.
        rate: decides what counts as seen.
        trend: on log-odds.
        device: where the network runs.
        batch_size: images at once; changes no metric beyond rounding.
        num_pictures: images of each kind in the report.
    """

    needs_generated = False

    def __init__(
        self,
        network: FindingClassifier,
        findings: FindingConcepts,
        training_images: Images,
        composed: ComposedImages | None = None,
        interpolated: InterpolatedImages | None = None,
        inpainted: InpaintedImages | None = None,
        auc: RocAuc | None = None,
        rate: DetectionRate | None = None,
        trend: InterpolationTrend | None = None,
        device: str | torch.device = "cpu",
        batch_size: int = 64,
        num_pictures: int = 8,
    ) -> None:
        self.network = network
        self.findings = findings
        self.training_images = training_images
        self.composed = composed
        self.interpolated = interpolated
        self.inpainted = inpainted
        self.auc = auc or RocAuc()
        self.rate = rate or DetectionRate()
        self.trend = trend or InterpolationTrend()
        self.device = device
        self.batch_size = batch_size
        self.num_pictures = num_pictures

    def check(self, images: EvaluatedImages) -> None:
        """Find what would spoil the metrics, before anything long begins.

        Raises:
            ConfigError: there is nothing to judge.
            DataError: the classifier's images are among the held-out ones.
        """
        if all(made is None for made in (images.generated, self.composed, self.interpolated, self.inpainted)):
            raise ConfigError(
                "there is nothing to evaluate: set --generated_dir, --composed_dir, --interpolated_dir or "
                "--inpainted_dir to the output_dir of a run"
            )
        check_classifier_apart(self.training_images, images.reference)

    def __call__(self, images: EvaluatedImages) -> PartResult:
        """Measure, and write the classifier's weights."""
        sets = self._sets(images)
        seen = {name: self._scores(own) for name, own in sets.items()}
        names = self.findings.names
        metrics: dict[str, Any] = {
            "auc": {name: separation(scores, names, self.auc) for name, scores in seen.items() if name != "composed"},
            "detection": {name: detection(scores, names, self.rate) for name, scores in seen.items()},
            "nothing_seen": {
                name: nothing_seen(scores, self.rate) for name, scores in seen.items() if name != "composed"
            },
        }
        sections = [
            Section(None, [HOW_TO_READ]),
            self._pictures(sets),
            self._single_findings(metrics["auc"]),
            _detection_section(metrics["detection"], metrics["nothing_seen"]),
        ]
        if self.interpolated is not None:
            scores = self._scores(self.interpolated)
            metrics["interpolation"] = trends(scores, self.interpolated.rows, self.trend)
            sections.append(self._interpolation(metrics["interpolation"], scores, self.interpolated))
        if self.inpainted is not None:
            fidelity = self._fidelity(self.inpainted)
            metrics["inpainting"] = {name: vars(each) for name, each in fidelity.items()}
            sections.append(self._inpainting(fidelity, self.inpainted))
        save_classifier_weights(self.network, images)
        metrics["findings"] = dict(zip(names, self.findings.positive, strict=True))
        metrics["num_classifier_training_images"] = len(self.training_images)
        return PartResult(None, metrics, sections, _summary(metrics["detection"]))

    def _sets(self, images: EvaluatedImages) -> dict[str, Images]:
        sets: dict[str, Images] = {"real": images.reference}
        if images.generated is not None:
            sets["generated"] = [
                {**item, "label": self.findings.label_of_tokens([str(item["concept"])])}
                for item in items_of(images.generated)
            ]
        if self.composed is not None:
            sets["composed"] = self.composed
        return sets

    def _scores(self, images: Images) -> FindingScores:
        return score_findings(self.network, images, self.device, self.batch_size)

    def _fidelity(self, images: InpaintedImages) -> dict[str, InpaintingFidelity]:
        items = items_of(images)
        before = self._scores([{**item, "image": item["before"]} for item in items])
        after = self._scores([{"image": item["image"], "label": item["label"]} for item in items])
        changes = torch.tensor([item["change_outside"] for item in items])
        return painted(before, after, changes, self.findings.names, self.rate)

    def _pictures(self, sets: Mapping[str, Images]) -> Section:
        """The first images of each combination of findings of each set, unselected."""
        blocks: list[Block] = ["The first images of each kind, unselected."]
        for name, images in sets.items():
            first: dict[str, list[Tensor]] = {}
            for item in items_of(images):
                own = first.setdefault(self.findings.named(item["label"]), [])
                if len(own) < self.num_pictures:
                    own.append(item["image"][:1])
            blocks += [Picture(grid_png(columns), f"{_WORDS[name]}: {named}") for named, columns in first.items()]
        return Section("Pictures", blocks)

    def _single_findings(self, auc: Mapping[str, Mapping[str, IntervalEstimate]]) -> Section:
        return Section(
            "Single findings",
            [
                "A classifier trained on other real images, which has seen no generated one, scores each image. The "
                "figure is the chance that it finds an image of a finding more suspicious than one of "
                f"{self.findings.negative} (area under the ROC curve): 0.5 is guessing, 1 is perfect.",
                _sets_table(auc, "AUC"),
            ],
        )

    def _interpolation(
        self, trend: Mapping[str, IntervalEstimate | None], scores: FindingScores, images: InterpolatedImages
    ) -> Section:
        panels = [
            (
                f"weight of {self.findings.names[rows.finding]}",
                rows.weights,
                scores.log_odds[rows.indices, rows.finding],
            )
            for rows in images.rows
        ]
        blocks: list[Block] = [
            "Spearman's correlation of the finding's log-odds with its weight along a row, mean over the rows. A row "
            "is one seed.",
            metrics_table(list(trend.items()), "mean correlation", "from and to"),
            Picture(curves_plot(panels, "log-odds"), "Log-odds along the rows, and their mean"),
        ]
        for rows in images.rows:
            shown = rows.indices[: max(1, self.num_pictures // 2)]
            columns = [torch.cat([images[int(index)]["image"][:1] for index in step]) for step in shown.T]
            weights = ", ".join(f"{weight:g}" for weight in rows.weights.tolist())
            blocks.append(Picture(grid_png(columns), f"{rows.name}: a row a seed, weights {weights}"))
        return Section("Interpolation", blocks)

    def _inpainting(self, fidelity: Mapping[str, InpaintingFidelity], images: InpaintedImages) -> Section:
        largest = max(each.largest_change_outside for each in fidelity.values())
        first: dict[str, list[Tensor]] = {}
        for item in items_of(images):
            own = first.setdefault(item["concept"], [])
            if len(own) < self.num_pictures:
                size = item["image"].shape[-2:]
                weight = functional.interpolate(item["weight"][None, None], size, mode="area")[0] * 2 - 1
                own.append(torch.cat([item["before"][:1], weight, item["image"][:1]]))
        return Section(
            "Inpainting",
            [
                "Share of images in which the finding is seen after and was not before, of those in which it was not "
                "before. What is seen is inside the mask, as nothing outside it may change: the largest change of a "
                f"pixel outside is {largest:g} grey levels.",
                metrics_table([(name, each.seen_inside) for name, each in fidelity.items()], "seen", "finding"),
                metrics_table(
                    [(name, each.unchanged_outside) for name, each in fidelity.items()], "unchanged", "finding"
                ),
                *(Picture(grid_png(columns), f"{name}: before, soft mask, after") for name, columns in first.items()),
            ],
        )


def _detection_section(
    shares: Mapping[str, Mapping[str, IntervalEstimate]], unseen: Mapping[str, IntervalEstimate | None]
) -> Section:
    return Section(
        "Are the findings seen that were asked for?",
        [
            "Share of images in which every finding is seen that they have or were asked for, whatever else is seen; "
            "then the share of images without a finding in which none is seen.",
            _sets_table(shares, "share"),
            metrics_table(
                [(f"{_WORDS[name]} without a finding", each) for name, each in unseen.items()], "nothing seen"
            ),
        ],
    )


def _sets_table(metrics: Mapping[str, Mapping[str, IntervalEstimate]], heading: str) -> Table:
    rows = [(f"{_WORDS[name]}: {group}", each) for name, own in metrics.items() for group, each in own.items()]
    return metrics_table(rows, heading)


def _summary(shares: Mapping[str, Mapping[str, IntervalEstimate]]) -> Sequence[str]:
    """Say of images with one, two, ... findings, of each set that was made, in how many all are seen."""
    sentences = []
    for name in ("generated", "composed"):
        for group, share in shares.get(name, {}).items():
            if group.endswith(("finding", "findings")):
                sentence = f"All that was asked for is seen in {share.value:.0%} of the {_WORDS[name]} with {group}"
                real = shares["real"].get(group)
                sentences.append(f"{sentence}{f', against {real.value:.0%} of real ones' if real else ''}.")
    return sentences
