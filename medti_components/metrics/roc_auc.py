# SPDX-License-Identifier: Apache-2.0
"""How well a score separates two groups of images, with its interval."""

from collections.abc import Hashable, Sequence
from statistics import NormalDist

import torch

from medti_components.errors import DataError
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.random_streams import random_stream


class RocAuc:
    """Area under the ROC curve = P(score of a positive > score of a negative) + P(equal) / 2, with its interval.

    The interval is a percentile bootstrap that resamples positives and negatives apart; where patients are given, it
    resamples these, with all scores of each: those with positives alone, with negatives alone and with both apart.
    Where the groups are separated completely no resample can differ, so the score interval of Newcombe ("Confidence
    intervals for an effect size measure based on the Mann-Whitney statistic", Stat. Med. 25, 2006, method 5) stands in
    for it, by the number of patients.

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

    def __call__(
        self,
        positive: torch.Tensor,
        negative: torch.Tensor,
        patients: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
    ) -> IntervalEstimate:
        """Measure on scores ``positive`` (p,) and ``negative`` (n,), larger meaning more likely positive.

        Args:
            positive: scores of the positives.
            negative: scores of the negatives.
            patients: the patient of each positive and of each negative; None where each score is of a patient of its
                own.

        Raises:
            DataError: a group is empty or holds a score that is not finite, or there are not as many patients.
        """
        for name, scores in (("positive", positive), ("negative", negative)):
            if scores.ndim != 1 or len(scores) == 0:
                raise DataError(f"{name} scores must have shape (n,) with n >= 1, got {tuple(scores.shape)}")
            if not bool(torch.isfinite(scores).all()):
                raise DataError(f"{name} scores must be finite: check the classifier and the images")
        wins = pairs_won(positive, negative)
        value = float(wins.mean())
        counts = {"positive": len(positive), "negative": len(negative)}
        if patients is not None and tuple(map(len, patients)) != (len(positive), len(negative)):
            raise DataError(f"patients must be one a score, {counts}, got {tuple(map(len, patients))}")
        if value in (0.0, 1.0):
            independent = list(counts.values()) if patients is None else [len(set(own)) for own in patients]
            bound = _newcombe_bound(independent[0], independent[1], self.confidence)
            low, high = (bound, 1.0) if value == 1.0 else (0.0, 1 - bound)
            return IntervalEstimate(value, low, high, counts, "score interval (Newcombe 2006)", self.confidence)
        stream = random_stream(self.seed, "roc auc", len(positive), len(negative))
        if patients is None:
            method = "stratified bootstrap"
            weights = [resample(len(scores), self.num_resamples, stream) for scores in (positive, negative)]
        else:
            method = "stratified bootstrap over patients"
            weights = resample_patients(patients, self.num_resamples, stream)
        totals = weights[0].sum(1) * weights[1].sum(1)
        resampled = ((weights[0] @ wins) * weights[1]).sum(1) / totals
        tail = (1 - self.confidence) / 2
        low, high = (float(resampled.quantile(q)) for q in (tail, 1 - tail))
        return IntervalEstimate(value, low, high, counts, method, self.confidence)


def pairs_won(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Return 1 where a positive's score is above a negative's, 0.5 where they are equal, else 0; the mean is the AUC.

    Args:
        positive: scores (..., p).
        negative: scores (..., n).

    Returns:
        float64 (..., p, n).

    >>> pairs_won(torch.tensor([0.9, 0.4]), torch.tensor([0.4]))
    tensor([[1.0000],
            [0.5000]], dtype=torch.float64)
    """
    difference = positive.double()[..., :, None] - negative.double()[..., None, :]
    return (difference > 0).double() + (difference == 0).double() / 2


def resample_patients(
    patients: tuple[Sequence[Hashable], Sequence[Hashable]], num_resamples: int, stream: torch.Generator
) -> list[torch.Tensor]:
    """Return how often each positive and each negative was drawn, (num_resamples, p) and (num_resamples, n).

    Patients with positives alone, with negatives alone and with both are resampled apart, so that no resample is
    without positives or negatives.
    """
    in_positive, in_negative = (dict.fromkeys(own) for own in patients)
    both = [patient for patient in in_positive if patient in in_negative]
    strata = [
        [patient for patient in in_positive if patient not in in_negative],
        [patient for patient in in_negative if patient not in in_positive],
        both,
    ]
    drawn: dict[Hashable, torch.Tensor] = {}
    for stratum in strata:
        if stratum:
            drawn |= zip(stratum, resample(len(stratum), num_resamples, stream).T, strict=True)
    return [torch.stack([drawn[patient] for patient in own], dim=1) for own in patients]


def resample(n: int, num_resamples: int, stream: torch.Generator) -> torch.Tensor:
    """Return how often each of n was drawn, float64 (num_resamples, n)."""
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
