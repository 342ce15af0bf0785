# SPDX-License-Identifier: Apache-2.0
"""How near generated images are to real ones, and how varied: the part "quality" of an evaluation."""

import logging
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from medti_components.errors import DataError
from medti_components.evaluation.evaluation_part import EvaluatedImages, PartResult
from medti_components.evaluation.image_features import ImageFeatures
from medti_components.evaluation.published_distance import PublishedDistance
from medti_components.evaluation.quality_report import quality_sections, quality_summary
from medti_components.metrics.frechet_distance import FrechetDistance
from medti_components.metrics.image_diversity import ImageDiversity
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.jackknife_interval import JackknifeInterval
from medti_components.metrics.kernel_inception_distance import KernelInceptionDistance
from medti_components.metrics.manifold_scores import ManifoldScores
from medti_components.random_streams import random_stream

logger = logging.getLogger(__name__)

ALL = "all"
MINIMUM_IMAGES = 4
"""Of each kind; fewer than :class:`ManifoldScores` needs leave out what it measures."""


class ImageQuality:
    """Distances and scores on features, of each concept and of all images together.

    - "generated": of generated against held-out real images;
    - "real": the same figures of other real images against the held-out ones, at the generated images' n: what perfect
      images would reach. These are the images that the words were learned from or, where there are none, one half of
      the held-out ones against the other.

    Each holds ``fid``, ``kid``, ``precision``, ``recall``, ``density``, ``coverage``, ``similarity`` (of pairs of
    images of one concept) and, where the training images are known, ``fid_as_published``.

    A concept with fewer than four images of either kind is left out, as are figures that need more.

    Args:
        features: of the images.
        reference: taken in place of the evaluation's held-out real images; an image without a concept counts for all.
        num_neighbours: nearest neighbours of precision, recall, density and coverage.
        seed: draws subsets.
    """

    def __init__(
        self,
        features: ImageFeatures,
        reference: Dataset[dict[str, Any]] | None = None,
        num_neighbours: int = 5,
        seed: int = 0,
    ) -> None:
        self.features = features
        self.reference = reference
        self.seed = seed
        interval = JackknifeInterval(seed=seed)
        self.kernel = KernelInceptionDistance()
        self.frechet = FrechetDistance(interval)
        self.manifold = ManifoldScores(num_neighbours, interval)
        self.diversity = ImageDiversity(seed=seed, interval=interval)
        self.published = PublishedDistance(features, self.frechet)

    def __call__(self, images: EvaluatedImages) -> PartResult:
        """Measure.

        Raises:
            DataError: there are too few images, or of other sizes than the generated ones.
        """
        concepts = list(images.concepts)
        generated = _by_concept(images.generated, concepts)
        reference = _by_concept(images.reference if self.reference is None else self.reference, concepts)
        training = {} if images.training is None else _by_concept(images.training, concepts)
        for name, found in (("generated", generated), ("real", reference)):
            if (count := len(found.get(ALL, []))) < MINIMUM_IMAGES:
                raise DataError(
                    f"quality needs {MINIMUM_IMAGES} or more {name} images, got {count}: give more, or take '@quality' "
                    "out of parts"
                )
        enough = [each for each in (*concepts, ALL) if _is_enough(generated.get(each), reference.get(each))]
        for concept in set(concepts).difference(enough):
            logger.warning("quality of %s: fewer than %d images of a kind, left out", concept, MINIMUM_IMAGES)
        figures: dict[str, Any] = {
            each: self._figures(each, generated[each], reference[each], training.get(each)) for each in enough
        }
        for concept, of_concept in figures.items():
            for kind, scores in of_concept.items():
                for name, score in scores.items():
                    logger.info("%s, %s, %s: %s, n = %s", concept, kind, name, score, dict(score.counts))
        sections = quality_sections(figures, self.features.network.name)
        network = {"features": self.features.network.name, "features_sha256": self.features.network.fingerprint}
        return PartResult("quality", {**network, **figures}, sections, quality_summary(figures))

    def _figures(
        self, concept: str, generated: Tensor, reference: Tensor, training: Tensor | None
    ) -> dict[str, dict[str, IntervalEstimate]]:
        if generated.shape[1:] != reference.shape[1:]:
            raise DataError(
                f"generated and real images must have one size, got {_size(generated)} and {_size(reference)}: set "
                "--image_size"
            )
        figures = {"generated": self._scores(generated, reference)}
        if training is not None and len(training) >= MINIMUM_IMAGES:
            order = self._order(concept, len(training))[: len(generated)]
            figures["real"] = self._scores(training[order], reference)
            for kind, own in (("generated", generated), ("real", reference)):
                figures[kind]["fid_as_published"] = self.published(own, training)
        elif len(reference) >= 2 * MINIMUM_IMAGES:
            order = self._order(concept, len(reference))
            figures["real"] = self._scores(reference[order[::2]], reference[order[1::2]])
        return figures

    def _scores(self, images: Tensor, reference: Tensor) -> dict[str, IntervalEstimate]:
        own, real = self.features(images), self.features(reference)
        scores = {"fid": self.frechet(own, real), "kid": self.kernel(own, real)}
        if min(len(own), len(real)) >= self.manifold.minimum_images:
            scores |= self.manifold(own, real)
        return {**scores, "similarity": self.diversity(images)}

    def _order(self, concept: str, count: int) -> Tensor:
        return torch.randperm(count, generator=random_stream(self.seed, "quality", concept, count))


def _by_concept(images: Dataset[dict[str, Any]], concepts: list[str]) -> dict[str, Tensor]:
    """Stack the images of each concept, and of those and any without a concept under "all"."""
    found: dict[str, list[Tensor]] = {}
    for index in range(len(images)):  # type: ignore[arg-type]
        item = images[index]
        concept = item["concept"]
        if concept in concepts:
            found.setdefault(concept, []).append(item["image"])
        if concept in concepts or not concept:
            found.setdefault(ALL, []).append(item["image"])
    return {concept: torch.stack(own).float() for concept, own in found.items()}


def _is_enough(*sets: Tensor | None) -> bool:
    return all(images is not None and len(images) >= MINIMUM_IMAGES for images in sets)


def _size(images: Tensor) -> str:
    return f"{images.shape[-1]}x{images.shape[-2]} pixels"
