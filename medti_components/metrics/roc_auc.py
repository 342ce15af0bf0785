# SPDX-License-Identifier: Apache-2.0
"""How well a classifier's scores separate two groups of images, and whether its probabilities are what they say."""

from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from torch import Tensor

from medti_components.errors import DataError
from medti_components.metrics.bootstrap_interval import percentile_interval, resample_counts, resample_patients
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
        positive: Tensor,
        negative: Tensor,
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
            weights = [resample_counts(len(scores), self.num_resamples, stream) for scores in (positive, negative)]
        else:
            method = "stratified bootstrap over patients"
            weights = resample_patients(patients, self.num_resamples, stream)
        totals = weights[0].sum(1) * weights[1].sum(1)
        resampled = ((weights[0] @ wins) * weights[1]).sum(1) / totals
        return percentile_interval(value, resampled, counts, method, self.confidence)


class PairedAucDifference:
    """Mean over seeds s of AUC_s(scores) - AUC_s(baseline), with a paired percentile bootstrap.

    A resample draws patients, positives and negatives apart, and seeds; both classifiers are measured on the same draw,
    so that what is hard about the cases, and lucky about a seed, cancels out.

    Args:
        num_resamples: number of bootstrap resamples.
        seed: of the resamples.
        confidence: nominal coverage of the interval, in (0, 1).

    >>> is_positive = torch.tensor([True, True, False])
    >>> scores, baseline = torch.tensor([[0.9, 0.8, 0.1]]), torch.tensor([[0.9, 0.2, 0.3]])
    >>> PairedAucDifference()(scores, baseline, is_positive, ["1", "2", "3"]).value
    0.5
    """

    def __init__(self, num_resamples: int = 2000, seed: int = 0, confidence: float = 0.95) -> None:
        self.num_resamples = num_resamples
        self.seed = seed
        self.confidence = confidence

    def __call__(
        self, scores: Tensor, baseline: Tensor, is_positive: Tensor, patients: Sequence[str]
    ) -> IntervalEstimate:
        """Measure on ``scores`` and ``baseline`` (seeds, cases), larger meaning more likely positive.

        Args:
            scores: of one way of training.
            baseline: of the other, with the same seeds and cases in the same order.
            is_positive: bool (cases,).
            patients: the patient of each case.

        Raises:
            DataError: shapes differ, or a class is missing.
        """
        num_cases = len(is_positive)
        if scores.shape != baseline.shape or scores.shape[1:] != (num_cases,) or len(patients) != num_cases:
            raise DataError(
                f"scores must be those of the same seeds and {num_cases} cases, got {tuple(scores.shape)}, "
                f"{tuple(baseline.shape)} and {len(patients)} patients"
            )
        counts = {"seeds": len(scores), "positive": int(is_positive.sum()), "negative": int((~is_positive).sum())}
        if 0 in counts.values():
            raise DataError(f"a difference of AUCs needs seeds, positives and negatives, got {counts}")
        gained = pairs_won(scores[:, is_positive], scores[:, ~is_positive])
        gained -= pairs_won(baseline[:, is_positive], baseline[:, ~is_positive])
        stream = random_stream(self.seed, "paired auc difference", *counts.values())
        groups = [
            [patient for patient, own in zip(patients, is_positive.tolist(), strict=True) if own is wanted]
            for wanted in (True, False)
        ]
        positive, negative = resample_patients((groups[0], groups[1]), self.num_resamples, stream)
        seeds = resample_counts(len(scores), self.num_resamples, stream) / len(scores)
        totals = positive.sum(1) * negative.sum(1)
        by_seed = torch.stack([((positive @ each) * negative).sum(1) / totals for each in gained], dim=1)
        method = "paired stratified bootstrap over patients and seeds"
        return percentile_interval(float(gained.mean()), (seeds * by_seed).sum(1), counts, method, self.confidence)


class Calibration:
    """Reliability curve, expected calibration error and Brier score of probabilities of a class.

    - the curve holds, for each of ``num_bins`` equally wide bins that is not empty, the mean probability and the share
      of positives in it;
    - expected calibration error = sum over bins of (cases in the bin / cases) * |share - mean probability| (Naeini et
      al., AAAI 2015); 0 for perfect calibration;
    - Brier score = mean (probability - truth)^2; 0 is perfect, 0.25 is that of saying 0.5 always.

    Args:
        truth: whether each case is positive, bool (n,) with n >= 1.
        probabilities: of being positive, (n,) in [0, 1].
        num_bins: bins of the curve.

    >>> found = Calibration(np.array([False, True, True, True]), np.array([0.25, 0.75, 0.75, 0.75]), num_bins=2)
    >>> found.expected_error, found.brier_score, found.counts.tolist()
    (0.25, 0.0625, [1, 3])
    """

    def __init__(self, truth: NDArray[np.bool_], probabilities: NDArray[np.float64], num_bins: int = 10) -> None:
        edges = np.linspace(0.0, 1.0, num_bins + 1)
        # scikit-learn's bins, (edge, next edge], of which it gives curve but not counts
        own = np.bincount(np.searchsorted(edges[1:-1], probabilities), minlength=num_bins)
        self.counts = own[own > 0]
        self.shares, self.means = calibration_curve(
            truth, probabilities, pos_label=True, n_bins=num_bins, strategy="uniform"
        )
        self.expected_error = float((self.counts / len(truth) * np.abs(self.shares - self.means)).sum())
        self.brier_score = float(brier_score_loss(truth, probabilities, pos_label=True))


def pairs_won(positive: Tensor, negative: Tensor) -> Tensor:
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
