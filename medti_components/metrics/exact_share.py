# SPDX-License-Identifier: Apache-2.0
"""A share with its exact binomial interval."""

import math

from scipy.stats import beta, binomtest
from torch import Tensor

from medti_components.errors import DataError
from medti_components.metrics.interval_estimate import IntervalEstimate


def exact_share(
    share: float, number: int, group: str = "answers", method: str = "Clopper-Pearson", confidence: float = 0.95
) -> IntervalEstimate:
    """Return ``share`` of ``number`` with the interval of Clopper and Pearson (Biometrika 1934).

    The bounds are quantiles of beta distributions, which also take shares that are no multiple of 1 / ``number``. With
    ``number`` independent units, each answered several times, this is the interval of Korn and Graubard (Survey
    Methodology 1998) at its most careful: all answers on a unit count as one.

    Raises:
        DataError: ``number`` is not positive.

    >>> print(exact_share(0.5, 10))
    0.500 [0.187, 0.813]
    >>> print(exact_share(1.0, 10))
    1.000 [0.692, 1.000]
    """
    if number < 1:
        raise DataError(f"a share must be of at least one, got {number}: give more {group}")
    count, tail = share * number, (1 - confidence) / 2
    low = beta.ppf(tail, count, number - count + 1) if count > 0 else 0.0
    high = beta.ppf(1 - tail, count + 1, number - count) if count < number else 1.0
    return IntervalEstimate(float(share), float(low), float(high), {group: number}, method, confidence)


def share_difference(
    first: Tensor, second: Tensor, groups: tuple[str, str], confidence: float = 0.95
) -> IntervalEstimate:
    """Return the share of true values in ``first`` less that in ``second``, bool (n,) each, of different images.

    The interval is Newcombe's hybrid of two score intervals (Stat. Med. 17:873-890, 1998, method 10).

    Raises:
        DataError: one of them is empty.

    >>> import torch
    >>> first, second = torch.arange(70) < 56, torch.arange(80) < 48  # his example: 56 of 70, 48 of 80
    >>> print(share_difference(first, second, ("a", "b")))
    0.200 [0.052, 0.334]
    """
    shares, arms = [], []
    for outcomes, group in zip((first, second), groups, strict=True):
        if outcomes.ndim != 1 or len(outcomes) == 0:
            raise DataError(f"{group} outcomes must have shape (n,) with n >= 1, got {tuple(outcomes.shape)}: add some")
        count, total = int(outcomes.sum()), len(outcomes)
        score = binomtest(count, total).proportion_ci(confidence, method="wilson")
        shares.append(count / total)
        arms.append((count / total - float(score.low), float(score.high) - count / total))
    (below_first, above_first), (below_second, above_second) = arms
    value = shares[0] - shares[1]
    return IntervalEstimate(
        value,
        value - math.hypot(below_first, above_second),
        value + math.hypot(above_first, below_second),
        {groups[0]: len(first), groups[1]: len(second)},
        "hybrid score (Newcombe 1998)",
        confidence,
    )
