# SPDX-License-Identifier: Apache-2.0
"""The difference between the shares of two groups of images, with its interval."""

import math

from scipy.stats import binomtest
from torch import Tensor

from medti_components.errors import DataError
from medti_components.metrics.interval_estimate import IntervalEstimate


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
