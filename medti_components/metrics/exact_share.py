# SPDX-License-Identifier: Apache-2.0
"""A share with its exact binomial interval."""

from scipy.stats import beta

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
