# SPDX-License-Identifier: Apache-2.0
"""How well a score separates two groups of images, with its interval."""

from statistics import NormalDist

import torch

from medti_components.errors import DataError
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.random_streams import random_stream


class RocAuc:
    """Area under the ROC curve = P(score of a positive > score of a negative) + P(equal) / 2, with its interval.

    The interval is a percentile bootstrap that resamples positives and negatives apart. Where the groups are separated
    completely no resample can differ, so the score interval of Newcombe ("Confidence intervals for an effect size
    measure based on the Mann-Whitney statistic", Stat. Med. 25, 2006, method 5) stands in for it.

    Args:
        num_resamples: number of bootstrap resamples.
        seed: of the resamples.
        confidence: nominal coverage of the interval, in (0, 1).

    >>> print(RocAuc()(torch.tensor([0.9, 0.8, 0.4]), torch.tensor([0.1, 0.5, 0.3])).value)
    0.8888888888888888
    """

    def __init__(self, num_resamples: int = 2000, seed: int = 0, confidence: float = 0.95) -> None:
        self.num_resamples = num_resamples
        self.seed = seed
        self.confidence = confidence

    def __call__(self, positive: torch.Tensor, negative: torch.Tensor) -> IntervalEstimate:
        """Measure on scores ``positive`` (p,) and ``negative`` (n,), larger meaning more likely positive.

        Raises:
            DataError: a group is empty or holds a score that is not finite.
        """
        for name, scores in (("positive", positive), ("negative", negative)):
            if scores.ndim != 1 or len(scores) == 0:
                raise DataError(f"{name} scores must have shape (n,) with n >= 1, got {tuple(scores.shape)}")
            if not bool(torch.isfinite(scores).all()):
                raise DataError(f"{name} scores must be finite: check the classifier and the images")
        difference = positive.double()[:, None] - negative.double()[None]
        wins = (difference > 0).double() + (difference == 0).double() / 2
        value = float(wins.mean())
        counts = {"positive": len(positive), "negative": len(negative)}
        if value in (0.0, 1.0):
            bound = _newcombe_bound(len(positive), len(negative), self.confidence)
            low, high = (bound, 1.0) if value == 1.0 else (0.0, 1 - bound)
            return IntervalEstimate(value, low, high, counts, "score interval (Newcombe 2006)", self.confidence)
        stream = random_stream(self.seed, "roc auc", len(positive), len(negative))
        weights = [_resample(len(scores), self.num_resamples, stream) for scores in (positive, negative)]
        resampled = ((weights[0] @ wins) * weights[1]).sum(1) / wins.numel()
        tail = (1 - self.confidence) / 2
        low, high = (float(resampled.quantile(q)) for q in (tail, 1 - tail))
        return IntervalEstimate(value, low, high, counts, "stratified bootstrap", self.confidence)


def _resample(n: int, num_resamples: int, stream: torch.Generator) -> torch.Tensor:
    """How often each of n images was drawn, (num_resamples, n)."""
    drawn = torch.randint(n, (num_resamples, n), generator=stream)
    return torch.zeros(num_resamples, n, dtype=torch.double).scatter_add_(1, drawn, torch.ones_like(drawn).double())


def _newcombe_bound(m: int, n: int, confidence: float) -> float:
    """Lower end of the score interval for an area of 1 seen on m positives and n negatives."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    pairs = (m + n) / 2 - 1

    def excess(area: float) -> float:
        variance = area * (1 - area) * (1 + pairs * ((1 - area) / (2 - area) + area / (1 + area))) / (m * n)
        return (1 - area) ** 2 - z**2 * variance

    low, high = 0.0, 1 - 1e-12
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return (low + high) / 2
