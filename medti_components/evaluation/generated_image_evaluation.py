# SPDX-License-Identifier: Apache-2.0
"""Hold generated images against real ones: does a classifier see the finding, and how far apart are the features."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from medti_components.data.generated.provenance import software_versions
from medti_components.errors import ConfigError, DataError
from medti_components.evaluation.classified_images import ClassifiedImages, classify_images
from medti_components.evaluation.evaluation_output import (
    check_classifier_apart,
    num_shared,
    run_parts,
    write_evaluation,
)
from medti_components.evaluation.evaluation_part import EvaluatedImages, EvaluationPart
from medti_components.evaluation.evaluation_report import EvaluationReport
from medti_components.evaluation.sharing_verdict import SharingVerdict
from medti_components.metrics.feature_scale import FeatureScale
from medti_components.metrics.interval_estimate import IntervalEstimate, plain_figures
from medti_components.metrics.kernel_inception_distance import (
    MINIMUM_IMAGES,
    KernelInceptionDistance,
    divide_distances,
)
from medti_components.metrics.roc_auc import RocAuc
from medti_components.networks.finding_classifier import FindingClassifier

logger = logging.getLogger(__name__)

Images = Dataset[dict[str, Any]]


class GeneratedImageEvaluation:
    """Everything that is measured on a folder of generated images, written as ``metrics.json`` and ``report.html``.

    - area under the ROC curve of the classifier on real images that neither it nor the embedding saw, and on the
      generated ones (each concept's own images are its positives or negatives);
    - for each concept the kernel distance (KID) of generated and of baseline images to held-out real ones on the
      classifier's features (centred and scaled by the classifier's training images), their ratio, and the distance of
      two sets of real images beside it.

    Args:
        network: the classifier, trained by the time ``run`` is called.
        concepts: tokens of the negative and the positive concept, in this order.
        training_images: real images that the classifier was trained on.
        reference: held-out real images.
        generated: images of the embedding.
        output_dir: folder for the two files and the classifier's weights.
        baseline: images of the initial rows, or None.
        second_reference: further real images for the real-against-real distance, or None.
        distance: on features.
        auc: on log-odds.
        channel_names: names of the image channels that the report shows, at most three; None shows them in colour.
        settings: recorded in ``metrics.json`` as they are.
        device: where the network runs.
        batch_size: images at once; changes no figure beyond rounding.
        num_pictures: images of each kind and concept in the report.
        parts: what else is measured, in the order of the report.
        learned_from: real images that the words were learned from, for the parts, or None.
        verdict: says of what the parts found whether it may be shared, or None.
    """

    def __init__(
        self,
        network: FindingClassifier,
        concepts: Sequence[str],
        training_images: Images,
        reference: Images,
        generated: Images,
        output_dir: str | Path,
        baseline: Images | None = None,
        second_reference: Images | None = None,
        distance: KernelInceptionDistance | None = None,
        auc: RocAuc | None = None,
        channel_names: Sequence[str] | None = ("1", "2", "3"),
        settings: Mapping[str, Any] | None = None,
        device: str | torch.device = "cpu",
        batch_size: int = 64,
        num_pictures: int = 8,
        parts: Sequence[EvaluationPart] = (),
        learned_from: Images | None = None,
        verdict: SharingVerdict | None = None,
    ) -> None:
        self.network = network
        self.concepts = list(concepts)
        self.training_images = training_images
        self.sets: dict[str, Images] = {"real": reference, "generated": generated}
        if baseline is not None:
            self.sets["initial rows"] = baseline
        if second_reference is not None:
            self.sets["more real"] = second_reference
        self.output_dir = Path(output_dir)
        self.distance = distance or KernelInceptionDistance()
        self.auc = auc or RocAuc()
        self.channel_names = channel_names
        self.settings = dict(settings or {})
        self.device = device
        self.batch_size = batch_size
        self.num_pictures = num_pictures
        self.parts = list(parts)
        self.verdict = verdict
        self.evaluated = EvaluatedImages(generated, reference, learned_from, self.concepts, self.output_dir)

    def check(self) -> None:
        """Find what would spoil the figures, before anything long begins.

        Raises:
            ConfigError: there are not two concepts.
            DataError: an image is in two sets of real images, or a set has too few of a concept.
        """
        if len(self.concepts) != 2:
            raise ConfigError(
                f"concepts must hold the negative and the positive concept, got {len(self.concepts)}: set --concepts"
            )
        for name, images in self.sets.items():
            self._check_enough("training" if name == "more real" else name, images)
        for name in ("real", "more real"):
            if name in self.sets:
                check_classifier_apart(self.training_images, self.sets[name])
        if "more real" in self.sets and (shared := num_shared(self.sets["real"], self.sets["more real"])):
            raise DataError(
                f"reference and training split of dataset_dir share {shared} images: make the studies again"
            )

    def _check_enough(self, name: str, images: Images) -> None:
        concepts = [images[index]["concept"] for index in range(len(images))]  # type: ignore[arg-type]
        for concept in self.concepts:
            if (count := concepts.count(concept)) < MINIMUM_IMAGES:
                remedy = "num_cases, or set --compare_real_with_real false" if name == "training" else "num_test_cases"
                raise DataError(
                    f"there must be {MINIMUM_IMAGES} or more {name} images of {concept} to measure a distance, got "
                    f"{count}: raise --{remedy}"
                )

    def run(self) -> dict[str, Any]:
        """Measure, write ``metrics.json``, ``report.html`` and ``classifier.safetensors``, return the metrics."""
        seen = {
            name: classify_images(self.network, images, self.device, self.batch_size)
            for name, images in self.sets.items()
        }
        trained_on = classify_images(self.network, self.training_images, self.device, self.batch_size)
        scale = FeatureScale.of(trained_on.features)
        metrics: dict[str, Any] = {
            "auc": {name: self._separation(images) for name, images in seen.items()},
            "kid": {concept: self._distances(concept, seen, scale) for concept in self.concepts},
        }
        document = {
            **plain_figures(metrics),
            "features": f"{type(self.network).__name__}, {seen['real'].features.shape[1]} features, centred and scaled",
            "num_classifier_training_images": len(trained_on),
            "settings": self.settings,
            "versions": software_versions(),
        }
        report = EvaluationReport(self.concepts, self.channel_names, self.num_pictures)
        page = report.render(metrics, seen, self.sets, self.settings)
        write_evaluation(self.output_dir, document, page, self.network)
        self._log(metrics)
        return run_parts(self.parts, self.evaluated, document, page, self.output_dir, self.verdict)

    def _separation(self, images: ClassifiedImages) -> IntervalEstimate:
        negative, positive = (images.of(concept).log_odds for concept in self.concepts)
        return self.auc(positive, negative)

    def _distances(
        self, concept: str, seen: Mapping[str, ClassifiedImages], scale: FeatureScale
    ) -> dict[str, IntervalEstimate | None]:
        own = {name: scale(images.of(concept).features) for name, images in seen.items()}
        figures: dict[str, IntervalEstimate | None] = {
            name: self.distance(features, own["real"]) for name, features in own.items() if name != "real"
        }
        generated, baseline = figures["generated"], figures.get("initial rows")
        if generated is not None and baseline is not None:
            figures["ratio to initial rows"] = divide_distances(generated, baseline)
        return figures

    def _log(self, metrics: Mapping[str, Any]) -> None:
        for name, figure in metrics["auc"].items():
            logger.info("AUC of the classifier on %s images: %s, n = %s", name, figure, dict(figure.counts))
        for concept, figures in metrics["kid"].items():
            for name, figure in figures.items():
                logger.info("KID of %s, %s: %s", concept, name, figure or "undetermined")
        logger.info("Report: %s", self.output_dir / "report.html")
