# SPDX-License-Identifier: Apache-2.0
"""How near generated images are to real ones, and how varied: the part "quality" of an evaluation."""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from medti_components.errors import ConfigError, DataError
from medti_components.evaluation.evaluation import EvaluatedImages, EvaluationPart, Images, PartResult
from medti_components.evaluation.image_features import ImageFeatures
from medti_components.evaluation.verdict import VerdictCheck
from medti_components.metrics.frechet_distance import FrechetDistance
from medti_components.metrics.image_diversity import ImageDiversity
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.jackknife_interval import JackknifeInterval
from medti_components.metrics.kernel_inception_distance import KernelInceptionDistance
from medti_components.metrics.manifold_scores import ManifoldScores
from medti_components.random_streams import random_stream
from medti_components.visualize.plots import intervals_plot
from medti_components.visualize.report import Block, Picture, Section, Subheading
from medti_components.visualize.tables import Table, listed_counts

logger = logging.getLogger(__name__)

ALL = "all"
MINIMUM_IMAGES = 4
"""Of each kind; fewer than :class:`ManifoldScores` needs leave out what it measures."""


SCORES = {
    "fid": (
        "FID",
        "Distance between the two sets, each seen as one cloud. Few images alone make it large, so only the gap to the "
        "real images' own figure counts.",
    ),
    "kid": (
        "KID",
        "The same distance freed of the error of few images: 0 where the sets can't be told apart. An interval that "
        "holds 0 shows no difference at this number of images.",
    ),
    "precision": ("precision", "Share of generated images that resemble some real one. Low: odd images."),
    "recall": ("recall", "Share of real images whose like could be generated. Low: kinds of images are missing."),
    "density": (
        "density",
        "How crowded generated images lie where real ones are, 1 as real ones do. Above 1: mostly typical images.",
    ),
    "coverage": ("coverage", "Share of real images that have a generated one nearby. Low: variety is missing."),
    "similarity": (
        "MS-SSIM",
        "How alike two images of the set are, 1 for the same. Above the real images' figure: images repeat themselves.",
    ),
    "fid_as_published": (
        "FID as published",
        "As the paper on medical textual inversion has it: brightness and contrast evened out, against the training "
        "images. Copies of those would score best.",
    ),
}
"""Heading of each score, and what it says."""


def standardized_pixels(images: Tensor) -> Tensor:
    """Bring each image (n, 3, H, W) by itself to mean 128 and deviation 64, as uint8 in [0, 255].

    An image of one value becomes 128.

    >>> standardized_pixels(torch.tensor([-1.0, 1.0]).reshape(1, 1, 1, 2)).tolist()
    [[[[64, 192]]]]
    """
    flat = images.double().flatten(1)
    spread = flat.std(dim=1, correction=0, keepdim=True)
    scores = (flat - flat.mean(dim=1, keepdim=True)) / torch.where(spread > 0, spread, 1.0)
    return (scores * 64 + 128).clamp(0, 255).to(torch.uint8).reshape(images.shape)


class PublishedDistance:
    """FID of images that are z-scored one by one, times 64 plus 128, as uint8; the reference is the training set.

    So de Wilde et al., "Medical diffusion on a budget", 2024, have it, on Inception's features. Since the reference is
    what the words were learned from, copies score best.

    Args:
        features: Inception's for figures to hold beside the paper's.
        distance: on features.
    """

    def __init__(self, features: ImageFeatures, distance: FrechetDistance | None = None) -> None:
        self.features = features
        self.distance = distance or FrechetDistance()

    def __call__(self, generated: Tensor, training: Tensor) -> IntervalEstimate:
        """Measure the distance between images (m, 3, H, W) and (n, 3, H, W) in [-1, 1].

        Raises:
            DataError: as :class:`ImageFeatures` and :class:`FrechetDistance`.
        """
        seen = [self.features(standardized_pixels(images).float() / 127.5 - 1) for images in (generated, training)]
        return self.distance(*seen)


class ImageQuality(EvaluationPart):
    """Distances and scores on features, of each concept and of all images together.

    - "generated": of generated against held-out real images;
    - "real": the same metrics of other real images against the held-out ones, at the generated images' n: what perfect
      images would reach. These are the images that the words were learned from or, where there are none, one half of
      the held-out ones against the other.

    Each holds ``fid``, ``kid``, ``precision``, ``recall``, ``density``, ``coverage``, ``similarity`` (of pairs of
    images of one concept) and, where the training images are known, ``fid_as_published``.

    A concept with fewer than four images of either kind is left out, as are metrics that need more.

    Args:
        features: of the images.
        reference: taken in place of the evaluation's held-out real images; an image without a concept counts for all.
        num_neighbours: nearest neighbours of precision, recall, density and coverage.
        seed: draws subsets.
        min_precision: least precision of each concept's images, in [0, 1], for the verdict on quality.
        min_coverage: least coverage, likewise.

    Raises:
        ConfigError: one of the two is out of range.
    """

    def __init__(
        self,
        features: ImageFeatures,
        reference: Images | None = None,
        num_neighbours: int = 5,
        seed: int = 0,
        min_precision: float = 0.5,
        min_coverage: float = 0.5,
    ) -> None:
        self.limits = {"min_precision": min_precision, "min_coverage": min_coverage}
        for key, limit in self.limits.items():
            if not 0 <= limit <= 1:
                raise ConfigError(f"{key} must be in [0, 1], got {limit}")
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
        generated = _by_concept(images.generated or [], concepts)
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
        metrics = {each: self._metrics(each, generated[each], reference[each], training.get(each)) for each in enough}
        network = {"features": self.features.network.name, "features_sha256": self.features.network.fingerprint}
        section = _section(metrics, self.features.network.name)
        check = self._check({concept: metrics.get(concept, {}).get("generated", {}) for concept in concepts})
        return PartResult("quality", {**network, **metrics}, [section], _summary(metrics), [check])

    def _check(self, scores: Mapping[str, Mapping[str, IntervalEstimate]]) -> VerdictCheck:
        """Judge precision and coverage of each concept by their intervals."""
        found: dict[bool | None, list[str]] = {False: [], None: [], True: []}
        for concept, own in scores.items():
            for name in ("precision", "coverage"):
                least, score = self.limits[f"min_{name}"], own.get(name)
                if score is None:
                    found[None].append(f"too few images of {concept} for its {name}")
                else:
                    outcome = False if score.high < least else True if score.low >= least else None
                    found[outcome].append(f"{name} of {concept} is {score}, min_{name} {least:g}")
        outcome = next(outcome for outcome in found if found[outcome])
        return VerdictCheck("quality", outcome, "; ".join(found[outcome]), self.limits)

    def _metrics(
        self, concept: str, generated: Tensor, reference: Tensor, training: Tensor | None
    ) -> dict[str, dict[str, IntervalEstimate]]:
        if generated.shape[1:] != reference.shape[1:]:
            raise DataError(
                f"generated and real images must have one size, got {_size(generated)} and {_size(reference)}: set "
                "--image_size"
            )
        metrics = {"generated": self._scores(generated, reference)}
        if training is not None and len(training) >= MINIMUM_IMAGES:
            order = self._order(concept, len(training))[: len(generated)]
            metrics["real"] = self._scores(training[order], reference)
            for kind, own in (("generated", generated), ("real", reference)):
                metrics[kind]["fid_as_published"] = self.published(own, training)
        elif len(reference) >= 2 * MINIMUM_IMAGES:
            order = self._order(concept, len(reference))
            metrics["real"] = self._scores(reference[order[::2]], reference[order[1::2]])
        return metrics

    def _scores(self, images: Tensor, reference: Tensor) -> dict[str, IntervalEstimate]:
        own, real = self.features(images), self.features(reference)
        scores = {"fid": self.frechet(own, real), "kid": self.kernel(own, real)}
        if min(len(own), len(real)) >= self.manifold.minimum_images:
            scores |= self.manifold(own, real)
        return {**scores, "similarity": self.diversity(images)}

    def _order(self, concept: str, count: int) -> Tensor:
        return torch.randperm(count, generator=random_stream(self.seed, "quality", concept, count))


def _by_concept(images: Images, concepts: list[str]) -> dict[str, Tensor]:
    """Stack the images of each concept, and of those and any without a concept under "all"."""
    found: dict[str, list[Tensor]] = {}
    for index in range(len(images)):
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


def _section(metrics: Mapping[str, Mapping[str, Mapping[str, IntervalEstimate]]], features: str) -> Section:
    """Words that a clinician reads, a plot, and a table for each concept."""
    names = [name for name in SCORES if any(name in own["generated"] for own in metrics.values())]
    panels = {
        SCORES[name][0]: {
            label: {
                concept.strip("<>"): own[kind][name] for concept, own in metrics.items() if name in own.get(kind, {})
            }
            for kind, label in (("generated", "generated"), ("real", "other real images"))
        }
        for name in names
    }
    plot = intervals_plot(panels, [concept.strip("<>") for concept in metrics])
    blocks: list[Block] = [
        f"Compared by the features of the network '{features}' against held-out real images. Beside each figure stands "
        "that of other real images at their own n: what perfect images would reach. In brackets 95% intervals.",
        Picture(plot, "Generated beside other real images, with 95% intervals", "Scores with intervals"),
    ]
    for concept, own in metrics.items():
        blocks += [Subheading("all concepts" if concept == ALL else concept), _table(own)]
    return Section("How near are generated to real images, and how varied?", blocks)


def _table(metrics: Mapping[str, Mapping[str, IntervalEstimate]]) -> Table:
    rows = [
        [heading, *(_cell(metrics.get(kind, {}).get(name)) for kind in ("generated", "real")), meaning]
        for name, (heading, meaning) in SCORES.items()
        if name in metrics["generated"]
    ]
    return Table(["score", "generated", "other real images", "what it says"], rows)


def _cell(metric: IntervalEstimate | None) -> str:
    return "not enough images" if metric is None else f"{metric}, n = {listed_counts(metric)}"


def _summary(metrics: Mapping[str, Mapping[str, Mapping[str, IntervalEstimate]]]) -> list[str]:
    """Say in a sentence what holds for all images together."""
    generated, real = (metrics.get(ALL, {}).get(kind, {}).get("kid") for kind in ("generated", "real"))
    if generated is None:
        return []
    beside = "" if real is None else f"; other real images reach {real}"
    if generated.low <= 0 <= generated.high:
        found = "At this number of images generated ones can't be told from real ones by their features"
    else:
        found = "Generated images differ from real ones in their features"
    return [f"{found}: KID {generated}{beside}."]
