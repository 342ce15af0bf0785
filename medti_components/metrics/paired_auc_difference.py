# SPDX-License-Identifier: Apache-2.0
"""How much better one way of training ranks the same test cases than another, over several seeds of both."""

from collections.abc import Sequence

import torch
from torch import Tensor

from medti_components.errors import DataError
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.roc_auc import pairs_won, resample, resample_patients
from medti_components.random_streams import random_stream


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
        seeds = resample(len(scores), self.num_resamples, stream) / len(scores)
        totals = positive.sum(1) * negative.sum(1)
        by_seed = torch.stack([((positive @ each) * negative).sum(1) / totals for each in gained], dim=1)
        tail = (1 - self.confidence) / 2
        low, high = (float((seeds * by_seed).sum(1).quantile(q)) for q in (tail, 1 - tail))
        method = "paired stratified bootstrap over patients and seeds"
        return IntervalEstimate(float(gained.mean()), low, high, counts, method, self.confidence)
