# SPDX-License-Identifier: Apache-2.0
"""Do lesions of generated prostate images show on ADC and on the high-b-value image at the same place?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_curve
from torch import Tensor

from medti_components.errors import ConfigError, DataError
from medti_components.evaluation.concept_images import ConceptImages
from medti_components.evaluation.evaluation import EvaluatedImages, EvaluationPart, PartResult, undetermined
from medti_components.metrics.exact_share import exact_share, share_difference
from medti_components.visualize.plots import encircled_plot
from medti_components.visualize.report import Block, Picture, Section, Subheading
from medti_components.visualize.tables import metrics_table

_SEQUENCES = ("adc", "hbv")
_HEADING = "Do lesions show on ADC and high b-value at the same place?"
_WORDS = {
    "real": "held-out real images",
    "generated": "generated images",
    "difference": "generated less real",
}


@dataclass(frozen=True)
class Spots:
    """The strongest spot of each image: ``strengths`` float64 (n,), ``places`` (row, column) int64 (n, 2)."""

    strengths: Tensor
    places: Tensor


@dataclass(frozen=True)
class LesionSpotDetector:
    """Find in each image the place that is at once dark on ADC and bright on HBV against what surrounds it.

    The contrast of a sequence is a difference of Gaussians: mean over the spot less mean over the surroundings. The
    strength of a spot is the lesser of ADC's darkness and HBV's brightness, each in standard deviations over images
    without a lesion, so that a place that is only dark, or only bright, is weak. Spread and threshold come from real
    images of known label (:meth:`calibrated`).

    Args:
        field_of_view_mm: width of the images.
        spread: standard deviation of both contrasts, (ADC, HBV), in units of the image.
        threshold: strength from which there is a spot.
        channels: which channels hold ADC and HBV.
        spot_mm: standard deviation of the Gaussian over a spot.
        surroundings_mm: that over what surrounds it.
        region_mm: spots are looked for this far about the centre of the image, where the prostate lies.

    >>> images = torch.zeros(2, 3, 32, 32)
    >>> images[0, 1, 12:15, 18:21], images[0, 2, 12:15, 18:21] = -1, 1  # dark and bright; the other has nothing
    >>> spots = LesionSpotDetector(field_of_view_mm=48.0)(images)
    >>> spots.places[0].tolist(), bool(spots.strengths[0] > spots.strengths[1])
    ([13, 19], True)
    """

    field_of_view_mm: float
    spread: tuple[float, float] = (1.0, 1.0)
    threshold: float = 0.0
    channels: tuple[int, int] = (1, 2)
    spot_mm: float = 2.0
    surroundings_mm: float = 6.0
    region_mm: float = 28.0

    def calibrated(self, negatives: Tensor, positives: Tensor) -> "LesionSpotDetector":
        """Return the detector with the spread of ``negatives`` and the threshold that separates the two sets best.

        Best is the largest sensitivity + specificity (Youden, Cancer 3:32-35, 1950); the threshold lies in the middle
        between the weakest spot that counts and the next weaker one.

        Args:
            negatives: real images without a lesion, (n, 3, H, W) in [-1, 1].
            positives: real images with one.

        Raises:
            DataError: ADC or HBV is the same everywhere.
        """
        darkness, brightness = (float(contrast.std()) for contrast in self._contrasts(negatives))
        if min(darkness, brightness) == 0:
            raise DataError(
                "ADC and HBV of images without a lesion must differ from place to place, got one value everywhere: "
                "correct --dataset_dir"
            )
        detector = replace(self, spread=(darkness, brightness))
        strengths = torch.cat([detector(images).strengths for images in (negatives, positives)])
        truth = np.repeat([0, 1], [len(negatives), len(positives)])
        false_positive, true_positive, thresholds = roc_curve(truth, strengths.numpy())
        weakest = float(thresholds[1:][int(np.argmax((true_positive - false_positive)[1:]))])  # the first is infinite
        weaker = strengths[strengths < weakest]
        next_weaker = float(weaker.max()) if len(weaker) else weakest
        return replace(detector, threshold=(weakest + next_weaker) / 2)

    def __call__(self, images: Tensor) -> Spots:
        """Return the strongest spot of each image, (n, 3, H, W) in [-1, 1]."""
        dark, bright = self._contrasts(images)
        strength = np.minimum(dark / self.spread[0], bright / self.spread[1])
        best = strength.argmax(axis=1)
        rows, columns = np.nonzero(self._region(images.shape[-2:]))
        places = torch.from_numpy(np.stack([rows[best], columns[best]], axis=1))
        return Spots(torch.from_numpy(strength[np.arange(len(best)), best]), places)

    def _contrasts(self, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return how dark ADC and how bright HBV is against the surroundings, each (n, pixels of the region)."""
        pixel_mm = self.field_of_view_mm / images.shape[-1]
        pixels = images[:, list(self.channels)].double().numpy()
        spot, surroundings = (
            gaussian_filter(pixels, (0, 0, size_mm / pixel_mm, size_mm / pixel_mm))
            for size_mm in (self.spot_mm, self.surroundings_mm)
        )
        contrast = (spot - surroundings)[:, :, self._region(images.shape[-2:])]
        return -contrast[:, 0], contrast[:, 1]

    def _region(self, size: torch.Size) -> np.ndarray:
        pixel_mm = self.field_of_view_mm / size[1]
        rows, columns = ((np.arange(length) - (length - 1) / 2) * pixel_mm for length in size)
        return np.hypot(rows[:, None], columns[None, :]) <= self.region_mm


class LesionConsistency(EvaluationPart):
    """Share of images with a spot that is dark on ADC and bright on HBV at the same place, generated against real.

    What counts as a spot is decided on the real images that the words were learned from, by
    :class:`LesionSpotDetector`; neither held-out nor generated images have a part in it.

    Args:
        sequences: what the image channels hold; 'adc' and 'hbv' must be among them.
        field_of_view_mm: width of the images.
        num_pictures: images of each kind on which the strongest spot is shown.

    Raises:
        ConfigError: a sequence is missing.
    """

    def __init__(self, sequences: Sequence[str], field_of_view_mm: float, num_pictures: int = 8) -> None:
        for sequence in _SEQUENCES:
            if sequence not in sequences:
                raise ConfigError(
                    f"sequences must hold 'adc' and 'hbv' for lesions to be found on both, got {list(sequences)}: "
                    'set --parts without "@modality"'
                )
        self.detector = LesionSpotDetector(
            field_of_view_mm, channels=(list(sequences).index("adc"), list(sequences).index("hbv"))
        )
        self.num_pictures = num_pictures

    def check(self, images: EvaluatedImages) -> None:
        """Check that there are a negative and a positive concept.

        Raises:
            ConfigError: there are not two concepts.
        """
        if len(images.concepts) != 2:
            raise ConfigError(
                f"concepts must hold the negative and the positive concept, got {len(images.concepts)}: set --concepts"
            )

    def __call__(self, images: EvaluatedImages) -> PartResult:
        """Measure the first concept as negative and the second as positive.

        Raises:
            ConfigError: there are not two concepts.
            DataError: a set has no image of a concept.
        """
        self.check(images)
        if images.training is None:
            return undetermined("modality", _HEADING, "num_cases is 0, so that there are none to learn a spot from")
        negatives, positives = (
            ConceptImages.of(images.training, concept, "training").images for concept in images.concepts
        )
        detector = self.detector.calibrated(negatives, positives)
        found: dict[str, dict[str, Tensor]] = {concept: {} for concept in images.concepts}
        pictures: list[Block] = []
        for name, dataset in (("real", images.reference), ("generated", images.generated or [])):
            for concept in images.concepts:
                own = ConceptImages.of(dataset, concept, name).images
                spots = detector(own)
                found[concept][name] = spots.strengths >= detector.threshold
                if self.num_pictures:
                    caption = f"{concept}: {_WORDS[name]}, above ADC, below HBV; a spot is encircled"
                    pictures.append(Picture(self._encircled(own, spots, found[concept][name]), caption))
        negative, positive = (found[concept] for concept in images.concepts)
        shares = {
            concept: {
                **{name: exact_share(float(seen.double().mean()), len(seen), "images") for name, seen in own.items()},
                "difference": share_difference(own["generated"], own["real"], ("generated", "real")),
            }
            for concept, own in found.items()
        }
        gaps = {name: share_difference(positive[name], negative[name], ("positive", "negative")) for name in positive}
        calibration = {
            "threshold": detector.threshold,
            "spread": dict(zip(_SEQUENCES, detector.spread, strict=True)),
            "n": {"negative": len(negatives), "positive": len(positives)},
        }
        metrics = {"spots": shares, "positive_less_negative": gaps, "calibration": calibration}
        counted = [
            f"in {own['generated'].value:.0%} of the generated images of {concept} (real ones: {own['real'].value:.0%})"
            for concept, own in reversed(shares.items())
        ]
        summary = f"A spot that is dark on ADC and bright on HBV at the same place shows {' and '.join(counted)}."
        return PartResult("modality", metrics, [Section(_HEADING, [*_tables(metrics), *pictures])], [summary])

    def _encircled(self, images: Tensor, spots: Spots, is_seen: Tensor) -> bytes:
        """Show ADC above HBV of the first images, with a circle where there is a spot."""
        shown = images[: self.num_pictures, list(self.detector.channels)]
        radius = 3 * self.detector.spot_mm * images.shape[-1] / self.detector.field_of_view_mm
        return encircled_plot(shown, spots.places, is_seen[: len(shown)], radius)


def _tables(metrics: Mapping[str, Any]) -> list[Block]:
    calibration = metrics["calibration"]
    blocks: list[Block] = [
        "A significant lesion restricts diffusion: it is dark on ADC and bright on the high-b-value image at one "
        "place. Counted are images with such a spot in the middle of the image, where the prostate lies. A word of "
        "lesions should show spots as often as real images with a lesion do, a word of none as seldom as those "
        "without.",
        f"A place counts by the lesser of its two contrasts against its surroundings. From "
        f"{calibration['threshold']:.2f} standard deviations it is a spot: this separates best the real images that "
        f"the words were learned from, {calibration['n']['positive']} with a lesion and "
        f"{calibration['n']['negative']} without. Held-out and generated images had no part in it.",
    ]
    for concept, own in metrics["spots"].items():
        rows = [(_WORDS[name], metric) for name, metric in own.items()]
        blocks += [Subheading(concept), metrics_table(rows, "share with a spot")]
    rows = [(_WORDS[name], metric) for name, metric in metrics["positive_less_negative"].items()]
    return [*blocks, Subheading("Share with a lesion less share without"), metrics_table(rows, "difference")]
