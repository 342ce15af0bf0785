# SPDX-License-Identifier: Apache-2.0
"""Mean and difference of figures that were measured on different images."""

import math
from collections import Counter
from collections.abc import Sequence

from medti_components.metrics.interval_estimate import IntervalEstimate


def mean_estimate(estimates: Sequence[IntervalEstimate]) -> IntervalEstimate:
    """Return the mean of independent figures; each side of the intervals adds up in quadrature.

    >>> a, b = (IntervalEstimate(value, value - 3, value + 4, {"images": 9}, "exact") for value in (1.0, 3.0))
    >>> mean = mean_estimate([a, b])
    >>> mean.value, round(mean.value - mean.low, 3), dict(mean.counts)  # 3 / sqrt(2)
    (2.0, 2.121, {'images': 18})
    """
    value = math.fsum(each.value for each in estimates) / len(estimates)
    below = math.hypot(*(each.value - each.low for each in estimates)) / len(estimates)
    above = math.hypot(*(each.high - each.value for each in estimates)) / len(estimates)
    counts = Counter[str]()
    for each in estimates:
        counts.update(each.counts)
    method = f"mean of {len(estimates)}, intervals in quadrature"
    return IntervalEstimate(value, value - below, value + above, dict(counts), method, estimates[0].confidence)


def difference_estimate(figure: IntervalEstimate, other: IntervalEstimate) -> IntervalEstimate:
    """Return ``figure - other``, as if they were independent; they share real images, so the interval is wide.

    >>> a, b = IntervalEstimate(5.0, 2.0, 8.0, {"images": 9}, "exact"), IntervalEstimate(1.0, -3.0, 5.0, {}, "exact")
    >>> print(difference_estimate(a, b))  # 4 -+ 5
    4.000 [-1.000, 9.000]
    """
    value = figure.value - other.value
    below = math.hypot(figure.value - figure.low, other.high - other.value)
    above = math.hypot(figure.high - figure.value, other.value - other.low)
    method = "intervals in quadrature"
    return IntervalEstimate(value, value - below, value + above, figure.counts, method, figure.confidence)
