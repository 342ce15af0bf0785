# SPDX-License-Identifier: Apache-2.0
"""Judge generated, composed, interpolated and inpainted images by a classifier of several findings."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from medti_components.data.generated.generated_images import GeneratedImages
from medti_components.data.generated.provenance import software_versions
from medti_components.errors import ConfigError
from medti_components.evaluation.evaluation_output import check_classifier_apart, run_parts, write_evaluation
from medti_components.evaluation.evaluation_part import EvaluatedImages, EvaluationPart
from medti_components.evaluation.findings.composed_images import ComposedImages
from medti_components.evaluation.findings.finding_concepts import FindingConcepts
from medti_components.evaluation.findings.finding_figures import detection, nothing_seen, painted, separation, trends
from medti_components.evaluation.findings.finding_report import FindingReport
from medti_components.evaluation.findings.finding_scores import FindingScores, score_findings
from medti_components.evaluation.findings.inpainted_images import InpaintedImages
from medti_components.evaluation.findings.interpolated_images import InterpolatedImages
from medti_components.evaluation.sharing_verdict import SharingVerdict
from medti_components.metrics.detection_rate import DetectionRate
from medti_components.metrics.inpainting_fidelity import InpaintingFidelity
from medti_components.metrics.interpolation_trend import InterpolationTrend
from medti_components.metrics.interval_estimate import IntervalEstimate, plain_figures
from medti_components.metrics.roc_auc import RocAuc
from medti_components.networks.finding_classifier import FindingClassifier

logger = logging.getLogger(__name__)

Images = Dataset[dict[str, Any]]


class FindingEvaluation:
    """Everything that is measured on folders of images, written as ``metrics.json`` and ``report.html``.

    - ``auc``: of each finding, images of it alone against images without a finding, held-out real and generated;
    - ``detection``: share of images in which every finding is seen that they have or were asked for, by combination
      and by the number of findings, held-out real, generated and composed; ``nothing_seen``: share of images without a
      finding in which none is seen;
    - ``interpolation``: Spearman's correlation of a finding's log-odds with its weight along a row;
    - ``inpainting``: share in which the finding is seen after and not before, and what changed outside the mask.

    Args:
        network: the classifier, a logit a finding, trained by the time ``run`` is called.
        findings: the words.
        training_images: real images that the classifier was trained on.
        reference: held-out real images, with a label (findings,).
        output_dir: folder for the two files and the classifier's weights.
        generated: images of single words, or None.
        composed: images of several findings, or None.
        interpolated: rows of images between two words, or None.
        inpainted: images that a finding was painted into, or None.
        auc: on log-odds.
        rate: decides what counts as seen.
        trend: on log-odds.
        settings: recorded in ``metrics.json`` as they are, with what each set was made with.
        device: where the network runs.
        batch_size: images at once; changes no figure beyond rounding.
        num_pictures: images of each kind in the report.
        parts: what else is measured on ``generated``, in the order of the report; none runs without it.
        learned_from: real images that the words were learned from, for the parts, or None.
        verdict: says of what the parts found whether it may be shared, or None.
    """

    def __init__(
        self,
        network: FindingClassifier,
        findings: FindingConcepts,
        training_images: Images,
        reference: Images,
        output_dir: str | Path,
        generated: GeneratedImages | None = None,
        composed: ComposedImages | None = None,
        interpolated: InterpolatedImages | None = None,
        inpainted: InpaintedImages | None = None,
        auc: RocAuc | None = None,
        rate: DetectionRate | None = None,
        trend: InterpolationTrend | None = None,
        settings: Mapping[str, Any] | None = None,
        device: str | torch.device = "cpu",
        batch_size: int = 64,
        num_pictures: int = 8,
        parts: Sequence[EvaluationPart] = (),
        learned_from: Images | None = None,
        verdict: SharingVerdict | None = None,
    ) -> None:
        self.network = network
        self.findings = findings
        self.training_images = training_images
        self.sets: dict[str, Any] = {"real": reference}
        if generated is not None:
            self.sets["generated"] = [
                {**item, "label": findings.label_of_tokens([str(item["concept"])])} for item in _items(generated)
            ]
        if composed is not None:
            self.sets["composed"] = composed
        self.interpolated = interpolated
        self.inpainted = inpainted
        self.output_dir = Path(output_dir)
        self.auc = auc or RocAuc()
        self.rate = rate or DetectionRate()
        self.trend = trend or InterpolationTrend()
        made = {"generated": generated, "composed": composed, "interpolated": interpolated, "inpainted": inpainted}
        self.settings = {
            **(settings or {}),
            "made by": {name: images.conditions for name, images in made.items() if images is not None},
        }
        self.device = device
        self.batch_size = batch_size
        self.num_pictures = num_pictures
        self.parts = list(parts)
        self.verdict = verdict
        self.evaluated = None
        if generated is not None:
            self.evaluated = EvaluatedImages(generated, reference, learned_from, findings.tokens, self.output_dir)

    def check(self) -> None:
        """Find what would spoil the figures, before anything long begins.

        Raises:
            ConfigError: there is nothing to judge.
            DataError: the classifier's images are among the held-out ones.
        """
        if not self.settings["made by"]:
            raise ConfigError(
                "there is nothing to evaluate: set --generated_dir, --composed_dir, --interpolated_dir or "
                "--inpainted_dir to the output_dir of a run"
            )
        check_classifier_apart(self.training_images, self.sets["real"])

    def run(self) -> dict[str, Any]:
        """Measure, write ``metrics.json``, ``report.html`` and ``classifier.safetensors``, return the metrics."""
        seen = {name: self._scores(images) for name, images in self.sets.items()}
        names = self.findings.names
        metrics: dict[str, Any] = {
            "auc": {name: separation(scores, names, self.auc) for name, scores in seen.items() if name != "composed"},
            "detection": {name: detection(scores, names, self.rate) for name, scores in seen.items()},
            "nothing_seen": {
                name: nothing_seen(scores, self.rate) for name, scores in seen.items() if name != "composed"
            },
        }
        if self.interpolated is not None:
            seen["interpolated"] = self._scores(self.interpolated)
            metrics["interpolation"] = trends(seen["interpolated"], self.interpolated.rows, self.trend)
        if self.inpainted is not None:
            metrics["inpainting"] = self._inpainting(self.inpainted)
        document = {
            **_plain(metrics),
            "findings": dict(zip(names, self.findings.positive, strict=True)),
            "num_classifier_training_images": len(self.training_images),  # type: ignore[arg-type]
            "settings": self.settings,
            "versions": software_versions(),
        }
        report = FindingReport(self.findings, self.num_pictures)
        page = report.render(metrics, seen, self.sets, self.interpolated, self.inpainted, self.settings)
        write_evaluation(self.output_dir, document, page, self.network)
        _log(metrics)
        logger.info("Report: %s", self.output_dir / "report.html")
        return run_parts(self.parts, self.evaluated, document, page, self.output_dir, self.verdict)

    def _scores(self, images: Any) -> FindingScores:
        return score_findings(self.network, images, self.device, self.batch_size)

    def _inpainting(self, images: InpaintedImages) -> dict[str, InpaintingFidelity]:
        items = _items(images)
        before = self._scores([{**item, "image": item["before"]} for item in items])
        after = self._scores([{"image": item["image"], "label": item["label"]} for item in items])
        changes = torch.tensor([item["change_outside"] for item in items])
        return painted(before, after, changes, self.findings.names, self.rate)


def _items(images: Any) -> list[dict[str, Any]]:
    return [images[index] for index in range(len(images))]


def _plain(metrics: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = plain_figures({key: figures for key, figures in metrics.items() if key != "inpainting"})
    if "inpainting" in metrics:
        plain["inpainting"] = plain_figures({name: vars(fidelity) for name, fidelity in metrics["inpainting"].items()})
    return plain


def _log(figures: Mapping[str, Any], path: str = "") -> None:
    for name, figure in figures.items():
        where = f"{path}, {name}" if path else name
        if isinstance(figure, Mapping):
            _log(figure, where)
        elif isinstance(figure, InpaintingFidelity):
            _log(vars(figure), where)
        elif isinstance(figure, IntervalEstimate):
            logger.info("%s: %s, n = %s", where, figure, dict(figure.counts))
        else:
            logger.info("%s: %s", where, "undetermined" if figure is None else figure)
