# SPDX-License-Identifier: Apache-2.0
"""Are generated sections stained as real ones are?"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medti_components.evaluation.concept_images import ConceptImages
from medti_components.evaluation.evaluation import EvaluatedImages, EvaluationPart, PartResult
from medti_components.metrics.bootstrap_interval import percentile_interval, resample_patients
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.random_streams import random_stream
from medti_components.visualize.plots import scatter_plot
from medti_components.visualize.report import Block, Picture, Section, Subheading
from medti_components.visualize.tables import Table, listed_counts

# Optical density (R, G, B) of a unit of hematoxylin, eosin and DAB, here what the first two leave; Ruifrok and
# Johnston, Anal Quant Cytol Histol 23:291-299, 2001.
_STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
STATISTICS = ("hematoxylin, mean", "hematoxylin, spread", "eosin, mean", "eosin, spread", "brightness, mean")
_HEADING = "Are sections stained as real ones are?"
_WORDS = {"generated": "generated", "more real": "other real"}
_MEASURES = {"standardised_difference": "standardised difference", "distance": "distance"}


def stain_amounts(images: Tensor) -> Tensor:
    """Separate the stains of RGB images: optical density -log10(intensity), solved for the stains' unit densities.

    Args:
        images: (n, 3, H, W) in [-1, 1]; black counts as the darkest of 255 grey levels.

    Returns:
        hematoxylin, eosin and what is left, float64 (n, 3, H, W); 0 on white, negative where a colour is none of
        theirs.

    >>> white = torch.ones(1, 3, 2, 2)
    >>> bool((stain_amounts(white).abs() < 1e-9).all())
    True
    """
    density = -torch.log10(((images.double() + 1) / 2).clamp(min=1 / 255))
    units = torch.tensor(_STAINS, dtype=torch.double)
    units = units / units.norm(dim=1, keepdim=True)
    return torch.einsum("nchw,cs->nshw", density, torch.linalg.inv(units))


def stain_table(images: Tensor) -> np.ndarray:
    """Return the ``STATISTICS`` of each image, (n, 3, H, W) in [-1, 1]: float64 (n, 5).

    Stains in optical density: mean and standard deviation over the pixels. Brightness is mean grey value, 0 to 1.

    >>> stain_table(torch.ones(2, 3, 4, 4)).round(6).tolist()[0]
    [0.0, 0.0, 0.0, 0.0, 1.0]
    """
    amounts = stain_amounts(images)[:, :2].flatten(2)
    means, spreads = amounts.mean(dim=2), amounts.std(dim=2, correction=0)
    brightness = (images.double().mean(dim=(1, 2, 3)) + 1) / 2
    columns = (means[:, 0], spreads[:, 0], means[:, 1], spreads[:, 1], brightness)
    return torch.stack(columns, dim=1).numpy() + 0.0


class StainStatistics(EvaluationPart):
    """Amounts of hematoxylin and eosin of each image, generated against held-out real, by concept.

    For each statistic the standardised difference of the means (Cohen's d: generated less real, by the pooled standard
    deviation) and the distance between the distributions (Wasserstein's, in the statistic's own unit), with percentile
    bootstrap intervals that resample patients with all their images. Where the real images that the words were learned
    from are there, they stand beside as what is reached by real images. A distance is never negative, and its resamples
    lie above it: read it against that of real images.

    Args:
        num_resamples: number of bootstrap resamples.
        seed: of the resamples.
        confidence: nominal coverage of the intervals, in (0, 1).
    """

    def __init__(self, num_resamples: int = 1000, seed: int = 0, confidence: float = 0.95) -> None:
        self.num_resamples = num_resamples
        self.seed = seed
        self.confidence = confidence

    def __call__(self, images: EvaluatedImages) -> PartResult:
        """Measure each concept.

        Raises:
            DataError: a set has no image of a concept.
        """
        sets = {"generated": images.generated, "more real": images.training, "real": images.reference}
        present = {name: dataset for name, dataset in sets.items() if dataset is not None}
        metrics: dict[str, dict[str, Any]] = {}
        tables: dict[str, dict[str, np.ndarray]] = {}
        for concept in images.concepts:
            own = {name: ConceptImages.of(dataset, concept, name) for name, dataset in present.items()}
            tables[concept] = {name: stain_table(each.images) for name, each in own.items()}
            metrics[concept] = {}
            for column, statistic in enumerate(STATISTICS):
                values = {name: table[:, column] for name, table in tables[concept].items()}
                metrics[concept][statistic] = {"mean": {name: float(each.mean()) for name, each in values.items()}}
                for name in (each for each in values if each != "real"):
                    patients = own[name].patients, own["real"].patients
                    metrics[concept][statistic][name] = self._compared(values[name], values["real"], name, patients)
        return PartResult("modality", metrics, [_section(metrics, _scatter(tables))], _summary(metrics))

    def _compared(
        self, first: np.ndarray, second: np.ndarray, name: str, patients: tuple[Sequence[Hashable], Sequence[Hashable]]
    ) -> dict[str, IntervalEstimate | None]:
        stream = random_stream(self.seed, "stain statistics", name, len(first), len(second))
        whole = [np.ones((1, len(values))) for values in (first, second)]
        drawn = [weights.numpy() for weights in resample_patients(patients, self.num_resamples, stream)]
        counts = {name: len(first), "real": len(second)}
        compared: dict[str, IntervalEstimate | None] = {}
        for key, measure in (("standardised_difference", cohens_d), ("distance", wasserstein)):
            value = float(measure(first, second, *whole)[0])
            compared[key] = None
            if not np.isnan(value):
                resampled = measure(first, second, *drawn)
                compared[key] = percentile_interval(
                    value, resampled, counts, "bootstrap over patients", self.confidence
                )
        return compared


def cohens_d(
    first: np.ndarray, second: np.ndarray, first_weights: np.ndarray, second_weights: np.ndarray
) -> np.ndarray:
    """Return (mean of first - mean of second) / pooled standard deviation for each row of weights.

    Args:
        first: values (n,).
        second: values (m,).
        first_weights: how often each counts, (rows, n).
        second_weights: the same, (rows, m).

    Returns:
        (rows,); nan where nothing varies.

    >>> float(cohens_d(np.array([2.0, 4.0]), np.array([1.0, 3.0]), np.ones((1, 2)), np.ones((1, 2)))[0].round(4))
    0.7071
    """
    means, squares, totals = [], [], []
    for values, weights in ((first, first_weights), (second, second_weights)):
        totals.append(weights.sum(axis=1, dtype=np.float64))
        means.append(weights @ values / totals[-1])
        squares.append((weights * (values - means[-1][:, None]) ** 2).sum(axis=1))
    freedom = totals[0] + totals[1] - 2
    variance = np.divide(sum(squares), freedom, out=np.zeros_like(freedom), where=freedom > 0)
    return np.divide(means[0] - means[1], np.sqrt(variance), out=np.full_like(variance, np.nan), where=variance > 0)


def wasserstein(
    first: np.ndarray, second: np.ndarray, first_weights: np.ndarray, second_weights: np.ndarray
) -> np.ndarray:
    """Return the area between the two distribution functions for each row of weights; arguments as ``cohens_d``'s.

    The same as ``scipy.stats.wasserstein_distance``, which takes one row at a time.

    >>> float(wasserstein(np.array([0.0, 1.0]), np.array([2.0]), np.ones((1, 2)), np.ones((1, 1)))[0])
    1.5
    """
    values = np.concatenate([first, second])
    order = np.argsort(values)
    shares = np.concatenate(
        [
            first_weights / first_weights.sum(axis=1, keepdims=True),
            -second_weights / second_weights.sum(axis=1, keepdims=True),
        ],
        axis=1,
    )
    return np.abs(np.cumsum(shares[:, order], axis=1)[:, :-1]) @ np.diff(values[order])


def _largest(metrics: Mapping[str, Any]) -> tuple[str, str, IntervalEstimate] | None:
    """Return concept, statistic and value of the generated images' largest standardised difference."""
    found = [
        (concept, statistic, own["generated"]["standardised_difference"])
        for concept, statistics in metrics.items()
        for statistic, own in statistics.items()
    ]
    known = [each for each in found if each[2] is not None]
    return max(known, key=lambda each: abs(each[2].value)) if known else None


def _summary(metrics: Mapping[str, Any]) -> list[str]:
    largest = _largest(metrics)
    if largest is None:
        return []
    concept, statistic, difference = largest
    size = "hardly" if abs(difference.value) < 0.5 else "moderately" if abs(difference.value) < 0.8 else "clearly"
    return [
        f"The stain of generated images differs {size} from that of real ones: most in {statistic}, of {concept}, by "
        f"{difference.value:+.1f} standard deviations [{difference.low:.1f}, {difference.high:.1f}]."
    ]


def _section(metrics: Mapping[str, Mapping[str, Any]], shown: Picture) -> Section:
    blocks: list[Block] = [
        "Hematoxylin stains nuclei blue, eosin the rest pink. How much of each an image holds is computed from its "
        "colours (Ruifrok and Johnston 2001), in optical density; the spread is that over the image's pixels.",
        shown,
        "The standardised difference is generated less real in standard deviations between images (Cohen's d): 0.2 is "
        "small, 0.5 moderate, 0.8 large. The distance (Wasserstein's) also sees a difference in variety; it is never "
        "zero, so read it against that of other real images. All are against held-out real images.",
    ]
    for concept, statistics in metrics.items():
        first = next(iter(statistics.values()))
        compared = [name for name in _WORDS if name in first]
        headings = ["statistic", *(f"mean, {_WORDS.get(name, name)}" for name in first["mean"])]
        headings += [f"{heading}, {_WORDS[name]}" for heading in _MEASURES.values() for name in compared]
        rows = [
            [
                statistic,
                *(f"{mean:.3f}" for mean in own["mean"].values()),
                *(str(own[name][measure] or "undetermined") for measure in _MEASURES for name in compared),
            ]
            for statistic, own in statistics.items()
        ]
        distance = first["generated"]["distance"]
        note = f"n: {listed_counts(distance)}. Intervals: {distance.confidence:.0%}, {distance.method}."
        blocks += [Subheading(concept), Table(headings, rows), note]
    return Section(_HEADING, blocks)


def _scatter(tables: Mapping[str, Mapping[str, np.ndarray]]) -> Picture:
    columns = [STATISTICS.index(f"{stain}, mean") for stain in ("hematoxylin", "eosin")]
    panels = {
        concept: {name: own[name][:, columns] for name in ("real", "generated")} for concept, own in tables.items()
    }
    return Picture(
        scatter_plot(panels, ("hematoxylin", "eosin")),
        "An image a point: mean hematoxylin and eosin, in optical density",
    )
