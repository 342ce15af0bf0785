# SPDX-License-Identifier: Apache-2.0
"""Which source an image is nearest to, and from which closeness on the image counts as a copy of it."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import chi2
from torch import Tensor

from medti_components.errors import ConfigError, DataError

MIN_VALUES = 20
"""Fewest real images that a threshold is set by."""
NUM_COMPARED = 20
_SMALLEST_RATIO = 1e-3
_SHARE_IN_TAIL = 0.2
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class NearestSource:
    """The nearest source of each of n images.

    Args:
        indices: which one, int64 (n,).
        distances: to it, (n,), at least 0.
        closeness: ``log(median distance of the next 20 sources / distance)``, float32 (n,), from 0 to 6.9.

    Closeness says how far the nearest source stands out. Unlike the distance it does not grow where an image is smooth
    or usual, hence near to every source, as generated images often are. Where distances near an image grow as those of
    points in k dimensions do, it is the largest of ten exponential variables of rate k (Renyi's representation), so its
    upper tail is exponential.
    """

    indices: Tensor
    distances: Tensor
    closeness: Tensor

    @classmethod
    def of(cls, distances: Tensor, patients: Sequence[Hashable]) -> "NearestSource":
        """Find it in ``distances`` (n, m), m >= 2, of which those that are infinite are left out.

        Args:
            distances: of n images to m sources.
            patients: the patient of each source; further images of the nearest one's patient are not compared with.

        >>> found = NearestSource.of(torch.tensor([[4.0, 1.0, 3.0, 1.0]]), ["a", "b", "c", "b"])
        >>> int(found.indices), round(float(found.closeness.exp()), 3)
        (1, 3.0)
        """
        nearest = distances.min(dim=1)
        numbers = {patient: number for number, patient in enumerate(dict.fromkeys(patients))}
        patient = torch.tensor([numbers[each] for each in patients])
        is_other = (patient[None] != patient[nearest.indices][:, None]) & distances.isfinite()
        closeness = []
        for row, other, smallest in zip(distances, is_other, nearest.values, strict=True):
            following = row[other].sort().values[:NUM_COMPARED]
            usual = following.median() if len(following) else smallest
            closeness.append(-torch.log((smallest / usual).clamp(_SMALLEST_RATIO, 1)) if usual > 0 else torch.zeros(()))
        return cls(nearest.indices, nearest.values, torch.stack(closeness))


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
