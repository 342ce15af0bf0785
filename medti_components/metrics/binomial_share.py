# SPDX-License-Identifier: Apache-2.0
"""A share of images with its exact interval."""

from scipy.stats import binomtest

from medti_components.metrics.interval_estimate import IntervalEstimate


def binomial_share(count: int, total: int, group: str = "images", confidence: float = 0.95) -> IntervalEstimate:
    """Return ``count / total``, total >= 1, with the interval of Clopper and Pearson (Biometrika 26, 1934).

    >>> print(binomial_share(0, 200))
    0 [0, 0.0183]
    """
    interval = binomtest(count, total).proportion_ci(confidence, method="exact")
    return IntervalEstimate(
        count / total, float(interval.low), float(interval.high), {group: total}, "Clopper-Pearson", confidence
    )
