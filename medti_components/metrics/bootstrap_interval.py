# SPDX-License-Identifier: Apache-2.0
"""Intervals by resampling images, for figures that have no exact one."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.random_streams import stream_seed

NUM_RESAMPLES = 1000


def bootstrap_interval(
    statistic: Callable[..., float],
    *samples: NDArray[Any],
    counts: Mapping[str, int],
    seed: int = 0,
    confidence: float = 0.95,
) -> IntervalEstimate | None:
    """Return a figure of images with its percentile interval; None where it is undetermined (nan).

    Args:
        statistic: takes ``samples`` and gives a number; draws for which it is nan are left out.
        samples: arrays whose first axis is the image; drawn together, with replacement.
        counts: number of images in each group, by its name.
        seed: draws the resamples.
        confidence: nominal coverage, in (0, 1).

    >>> values = np.arange(10.0)
    >>> print(bootstrap_interval(np.mean, values, counts={"images": 10}).value)
    4.5
    >>> bootstrap_interval(np.mean, np.array([np.nan]), counts={"images": 0}) is None
    True
    """
    value = float(statistic(*samples))
    if np.isnan(value):
        return None
    number = len(samples[0])
    draws = np.random.default_rng(stream_seed(seed, "bootstrap")).integers(number, size=(NUM_RESAMPLES, number))
    resampled = [statistic(*(sample[draw] for sample in samples)) for draw in draws]
    low, high = np.nanquantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return IntervalEstimate(value, float(low), float(high), counts, "bootstrap over images", confidence)
