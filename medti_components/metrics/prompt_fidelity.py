# SPDX-License-Identifier: Apache-2.0
"""Whether images show what they were asked for: findings seen, painted in place, and growing with their weight."""

from dataclasses import dataclass

import torch
from scipy.stats import binomtest, spearmanr
from torch import Tensor

from medti_components.errors import DataError
from medti_components.metrics.bootstrap_interval import percentile_interval
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.random_streams import random_stream


class DetectionRate:
    """Share of images in which every finding asked for is seen, with Wilson's interval.

    Args:
        threshold: probability from which a finding counts as seen.
        confidence: nominal coverage of the interval, in (0, 1).

    >>> probabilities = torch.tensor([[0.9, 0.8], [0.9, 0.2], [0.1, 0.7]])
    >>> wanted = torch.tensor([[True, True], [True, True], [False, True]])
    >>> print(round(DetectionRate()(probabilities, wanted).value, 3))
    0.667
    """

    def __init__(self, threshold: float = 0.5, confidence: float = 0.95) -> None:
        self.threshold = threshold
        self.confidence = confidence

    def __call__(self, probabilities: Tensor, wanted: Tensor) -> IntervalEstimate:
        """Measure.

        Args:
            probabilities: of each finding in each image, (n, findings) in [0, 1].
            wanted: whether a finding was asked for, bool (n, findings); at least one an image.

        Raises:
            DataError: there is no image, shapes differ, or an image was asked for no finding.
        """
        if probabilities.ndim != 2 or len(probabilities) == 0 or probabilities.shape != wanted.shape:
            raise DataError(
                "probabilities and wanted must both have shape (n, findings) with n >= 1, got "
                f"{tuple(probabilities.shape)} and {tuple(wanted.shape)}"
            )
        if not bool(wanted.any(dim=1).all()):
            raise DataError("every image must be asked for at least one finding: leave out images of no finding")
        return self.of_outcomes(((probabilities >= self.threshold) | ~wanted).all(dim=1))

    def of_outcomes(self, outcomes: Tensor) -> IntervalEstimate:
        """Return the share of true values among ``outcomes``, bool (n,) with n >= 1."""
        count, total = int(outcomes.sum()), len(outcomes)
        interval = binomtest(count, total).proportion_ci(self.confidence, method="wilson")
        return IntervalEstimate(
            count / total, float(interval.low), float(interval.high), {"images": total}, "Wilson", self.confidence
        )


@dataclass(frozen=True)
class InpaintingFidelity:
    """What :func:`inpainting_fidelity` found.

    Attributes:
        seen_inside: share of images in which the finding is seen after and was not before; since nothing outside the
            mask changes, what is seen is inside. None where the finding was seen in every image before.
        num_seen_before: images left out of that share, as the finding was seen in them before.
        largest_change_outside: largest absolute difference of a pixel outside the mask, in the images' own unit.
        unchanged_outside: share of images in which no pixel outside the mask has changed.
    """

    seen_inside: IntervalEstimate | None
    num_seen_before: int
    largest_change_outside: float
    unchanged_outside: IntervalEstimate


def largest_change_outside(before: Tensor, after: Tensor, mask: Tensor) -> float:
    """Return the largest absolute difference of a pixel outside the mask, 0 where all is within it.

    Args:
        before: image (C, H, W).
        after: the same after inpainting.
        mask: bool (1, H, W), true where the image may change.

    >>> before, mask = torch.zeros(1, 2, 2), torch.tensor([[[True, False], [False, False]]])
    >>> largest_change_outside(before, before + mask, mask), largest_change_outside(before, before + 3, mask)
    (0.0, 3.0)
    """
    return float(((after.double() - before.double()).abs() * ~mask.bool()).max())


def inpainting_fidelity(
    changes: Tensor, probability_before: Tensor, probability_after: Tensor, rate: DetectionRate | None = None
) -> InpaintingFidelity:
    """Sum up images of which the change outside the mask is known.

    Args:
        changes: of each image, by :func:`largest_change_outside`, (n,) with n >= 1.
        probability_before: of the finding, (n,) in [0, 1].
        probability_after: likewise, after.
        rate: decides what counts as seen; its threshold is 0.5 by default.
    """
    rate = rate or DetectionRate()
    was_unseen = probability_before < rate.threshold
    outcomes = probability_after[was_unseen] >= rate.threshold
    return InpaintingFidelity(
        rate.of_outcomes(outcomes) if len(outcomes) else None,
        int(len(changes) - was_unseen.sum()),
        float(changes.max()),
        rate.of_outcomes(changes == 0),
    )


class InterpolationTrend:
    """Mean over rows of Spearman's correlation of a finding's score with the interpolation weight.

    A row is one seed. A row whose score never changes has no trend and counts as 0. The interval is a percentile
    bootstrap over rows.

    Args:
        num_resamples: number of bootstrap resamples.
        seed: of the resamples.
        confidence: nominal coverage of the interval, in (0, 1).

    >>> scores = torch.tensor([[0.1, 0.2, 0.9], [0.3, 0.1, 0.8]])
    >>> InterpolationTrend()(scores, torch.tensor([0.0, 0.5, 1.0])).value  # (1 + 0.5) / 2
    0.75
    """

    def __init__(self, num_resamples: int = 2000, seed: int = 0, confidence: float = 0.95) -> None:
        self.num_resamples = num_resamples
        self.seed = seed
        self.confidence = confidence

    def __call__(self, scores: Tensor, weights: Tensor) -> IntervalEstimate:
        """Measure.

        Args:
            scores: the finding's log-odds or probability, (rows, steps).
            weights: the interpolation weight of each step, (steps,).

        Raises:
            DataError: there are no rows or fewer than two steps, or a score is not finite.
        """
        if scores.ndim != 2 or len(scores) == 0 or scores.shape[1] < 2 or weights.shape != scores.shape[1:]:
            raise DataError(
                "scores must have shape (rows, steps) with at least one row and two steps, and weights (steps,), got "
                f"{tuple(scores.shape)} and {tuple(weights.shape)}"
            )
        if not bool(torch.isfinite(scores).all()):
            raise DataError("scores must be finite: check the classifier and the images")
        correlations = torch.tensor([_correlation(row, weights) for row in scores], dtype=torch.double)
        count = len(correlations)
        stream = random_stream(self.seed, "interpolation trend", count)
        means = correlations[torch.randint(count, (self.num_resamples, count), generator=stream)].mean(dim=1)
        value = float(correlations.mean())
        return percentile_interval(value, means, {"rows": count}, "bootstrap over rows", self.confidence)


def _correlation(row: Tensor, weights: Tensor) -> float:
    if bool((row == row[0]).all()):
        return 0.0
    return float(spearmanr(row.numpy(), weights.numpy()).statistic)
