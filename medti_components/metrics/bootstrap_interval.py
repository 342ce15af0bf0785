# SPDX-License-Identifier: Apache-2.0
"""Percentile intervals by resampling images, patients, rows or seeds, for metrics that have no exact interval."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
    """Return a metric of images with its percentile interval; None where it is undetermined (nan).

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
    resampled = np.array([statistic(*(sample[draw] for sample in samples)) for draw in draws])
    return percentile_interval(value, resampled, counts, "bootstrap over images", confidence)


def percentile_interval(
    value: float,
    resampled: Tensor | NDArray[np.float64],
    counts: Mapping[str, int],
    method: str,
    confidence: float,
) -> IntervalEstimate:
    """Return a metric with the interval that holds ``confidence`` of its resamples, as much left out on either side.

    Args:
        value: of the whole sample.
        resampled: of each resample, float64 (num_resamples,), as a tensor or an array, whose quantiles are taken by
            torch or numpy, as they round differently; resamples that are nan are left out.
        counts: number of images in each group, by its name.
        method: how resamples were drawn.
        confidence: nominal coverage, in (0, 1).

    >>> print(percentile_interval(0.5, torch.linspace(0, 1, 101, dtype=torch.double), {"images": 9}, "bootstrap", 0.9))
    0.500 [0.050, 0.950]
    """
    tail = (1 - confidence) / 2
    quantile = resampled.nanquantile if isinstance(resampled, Tensor) else partial(np.nanquantile, resampled)
    return IntervalEstimate(value, float(quantile(tail)), float(quantile(1 - tail)), counts, method, confidence)


def resample_counts(n: int, num_resamples: int, stream: torch.Generator) -> Tensor:
    """Return how often each of n was drawn, float64 (num_resamples, n)."""
    drawn = torch.randint(n, (num_resamples, n), generator=stream)
    return torch.zeros(num_resamples, n, dtype=torch.double).scatter_add_(1, drawn, torch.ones_like(drawn).double())


def resample_patients(
    patients: tuple[Sequence[Hashable], Sequence[Hashable]], num_resamples: int, stream: torch.Generator
) -> list[Tensor]:
    """Return how often each of two groups' images was drawn, (num_resamples, n) and (num_resamples, m).

    Patients with images in the first group alone, in the second alone and in both are resampled apart, each with all
    images, so that no resample is without images of a group.

    Args:
        patients: the patient of each image of both groups.
        num_resamples: number of resamples.
        stream: draws them.
    """
    in_first, in_second = (dict.fromkeys(own) for own in patients)
    strata = [
        [patient for patient in in_first if patient not in in_second],
        [patient for patient in in_second if patient not in in_first],
        [patient for patient in in_first if patient in in_second],
    ]
    drawn: dict[Hashable, Tensor] = {}
    for stratum in strata:
        if stratum:
            drawn |= zip(stratum, resample_counts(len(stratum), num_resamples, stream).T, strict=True)
    return [torch.stack([drawn[patient] for patient in own], dim=1) for own in patients]
