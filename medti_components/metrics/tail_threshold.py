# SPDX-License-Identifier: Apache-2.0
"""The value that a stated, small share of a population exceeds, from a sample too small to have seen it."""

import math
from dataclasses import dataclass

from scipy.stats import chi2
from torch import Tensor

from medti_components.errors import ConfigError, DataError

MIN_VALUES = 20
_SHARE_IN_TAIL = 0.2
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class TailThreshold:
    """A threshold that at most ``rate`` of a population exceeds.

    The upper fifth of the sample is taken for an exponential tail (peaks over a threshold: Pickands, Ann. Stat. 3,
    1975, with shape 0): with u the sample's 80 % quantile and b the mean excess over it, ``u + b * log(0.2 / rate)``.
    As b is estimated from a few values, the upper end of its one-sided 95 % interval stands in for it, so that the rate
    is rather smaller than stated.

    Args:
        value: the threshold.
        rate: share of the population above it, in (0, 0.2).
        num_values: size of the sample.
    """

    value: float
    rate: float
    num_values: int

    @classmethod
    def of(cls, values: Tensor, rate: float) -> "TailThreshold":
        """Set it by a sample ``values`` (n,).

        Raises:
            ConfigError: ``rate`` is out of range.
            DataError: there are fewer than 20 values.

        >>> import torch
        >>> sample = -torch.log1p(-(torch.arange(1000.0) + 0.5) / 1000)  # the quantiles of an exponential variable
        >>> round(TailThreshold.of(sample, 0.01).value - math.log(100), 1)  # on the safe side of what is true
        0.4
        """
        if not 0 < rate < _SHARE_IN_TAIL:
            raise ConfigError(f"the rate of a threshold must be in (0, {_SHARE_IN_TAIL}), got {rate}")
        if len(values) < MIN_VALUES:
            raise DataError(
                f"copies must be told from at least {MIN_VALUES} real images, held-out and training ones together, got "
                f"{len(values)}: raise --num_test_cases, or take '@copies' out of parts"
            )
        start = float(values.quantile(1 - _SHARE_IN_TAIL))
        excess = (values[values > start] - start).double()
        num_excesses = len(excess)
        scale = 2 * float(excess.sum()) / float(chi2.ppf(1 - _CONFIDENCE, 2 * num_excesses)) if num_excesses else 0.0
        return cls(start + scale * math.log(_SHARE_IN_TAIL / rate), rate, len(values))
