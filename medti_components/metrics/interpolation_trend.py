# SPDX-License-Identifier: Apache-2.0
"""Whether a finding grows along an interpolation."""

import torch
from scipy.stats import spearmanr
from torch import Tensor

from medti_components.errors import DataError
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.random_streams import random_stream


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
        tail = (1 - self.confidence) / 2
        low, high = (float(means.quantile(share)) for share in (tail, 1 - tail))
        return IntervalEstimate(
            float(correlations.mean()), low, high, {"rows": count}, "bootstrap over rows", self.confidence
        )


def _correlation(row: Tensor, weights: Tensor) -> float:
    if bool((row == row[0]).all()):
        return 0.0
    return float(spearmanr(row.numpy(), weights.numpy()).statistic)
