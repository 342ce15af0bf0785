# SPDX-License-Identifier: Apache-2.0
"""An interval for any metric of several sets of images, from subsets of them."""

from collections.abc import Callable, Mapping, Sequence
from math import inf

import torch
from scipy.stats import t as student
from torch import Tensor

from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.random_streams import random_stream


class JackknifeInterval:
    """Leave one group of images out at a time: value -+ t * sd, the variance as the delete-a-group jackknife has it.

    Each set is divided into G groups at random; with theta_g the metric without group g, its variance due to the set
    is (G - 1) / G * sum_g (theta_g - mean theta)^2, and those of independent sets add up (Efron and Tibshirani, "An
    Introduction to the Bootstrap", 1993, chapter 11). A bootstrap draws images twice, which distances to nearest
    neighbours and covariances of few images take for a change of the distribution; a subset does not.

    Args:
        num_groups: groups of each set; a smaller set has as many as images.
        seed: divides the sets.
        confidence: nominal coverage, in (0, 1).

    >>> mean = lambda chosen: torch.arange(100.0)[chosen[0]].mean()
    >>> estimate = JackknifeInterval(num_groups=100)(mean, {"images": 100})
    >>> round(estimate.value, 1), round((estimate.high - estimate.low) / 2, 3)  # t * sd / sqrt(n) = 1.984 * 2.901
    (49.5, 5.757)
    """

    def __init__(self, num_groups: int = 20, seed: int = 0, confidence: float = 0.95) -> None:
        self.num_groups = num_groups
        self.seed = seed
        self.confidence = confidence

    def __call__(
        self,
        metric: Callable[[Sequence[Tensor]], Tensor],
        counts: Mapping[str, int],
        lowest: float = -inf,
        highest: float = inf,
    ) -> IntervalEstimate:
        """Return a metric with its interval.

        Args:
            metric: of the images that are left in each set, given by their indices in order.
            counts: number of images of each set, by the set's name.
            lowest: the metric can't be below; the interval ends there.
            highest: likewise above.
        """
        everything = [torch.arange(count) for count in counts.values()]
        variance, freedom = 0.0, 0
        for position, (name, count) in enumerate(counts.items()):
            order = torch.randperm(count, generator=random_stream(self.seed, "jackknife", name, count))
            groups = order.tensor_split(min(self.num_groups, count))
            values = []
            for group in groups:
                kept = torch.ones(count, dtype=torch.bool)
                kept[group] = False
                chosen = [kept.nonzero()[:, 0] if each == position else all_ for each, all_ in enumerate(everything)]
                values.append(float(metric(chosen)))
            spread = torch.tensor(values, dtype=torch.float64)
            variance += (len(groups) - 1) * float(spread.var(correction=0))
            freedom += len(groups) - 1
        value = float(metric(everything))
        margin = float(student.ppf(0.5 + self.confidence / 2, max(freedom, 1))) * variance**0.5
        return IntervalEstimate(
            value,
            max(value - margin, lowest),
            min(value + margin, highest),
            dict(counts),
            f"jackknife of {self.num_groups} groups",
            self.confidence,
        )
