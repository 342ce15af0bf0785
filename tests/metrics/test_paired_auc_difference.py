# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.errors import DataError
from medti_components.metrics.roc_auc import PairedAucDifference

IS_POSITIVE = torch.tensor([True] * 2 + [False] * 2)
PATIENTS = ["a", "b", "c", "d"]


def test_value_is_the_mean_over_seeds() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.1, 0.2], [0.9, 0.3, 0.1, 0.5]])  # AUC 1 and 3/4
    baseline = torch.tensor([[0.9, 0.3, 0.1, 0.5], [0.1, 0.2, 0.8, 0.9]])  # AUC 3/4 and 0
    estimate = PairedAucDifference()(scores, baseline, IS_POSITIVE, PATIENTS)
    assert estimate.value == pytest.approx((0.25 + 0.75) / 2)
    assert estimate.low < estimate.value < estimate.high
    assert estimate.counts == {"seeds": 2, "positive": 2, "negative": 2}


def test_the_same_scores_differ_by_nothing() -> None:
    scores = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    estimate = PairedAucDifference()(scores, scores, IS_POSITIVE, PATIENTS)
    assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)


def test_seeds_alone_widen_the_interval() -> None:
    """All cases of a class are alike, so that a resample is decided by its seeds: +1 with one, 0 with the other."""
    scores = torch.tensor([[0.9, 0.9, 0.1, 0.1], [0.1, 0.1, 0.9, 0.9]])
    baseline = torch.tensor([[0.1, 0.1, 0.9, 0.9], [0.1, 0.1, 0.9, 0.9]])
    estimate = PairedAucDifference()(scores, baseline, IS_POSITIVE, PATIENTS)
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0, 1)


def test_interval_is_that_of_the_normal_limit() -> None:
    """A gain of 1 on pairs of half the positives: the resampled share of these is binomial(n, 1/2) / n."""
    n = 400
    is_positive = torch.tensor([True] * n + [False])
    scores = torch.tensor([[1.0] * n + [0.5]])
    baseline = torch.tensor([[1.0] * (n // 2) + [0.0] * (n // 2) + [0.5]])
    estimate = PairedAucDifference()(scores, baseline, is_positive, [str(patient) for patient in range(n + 1)])
    half_width = 1.96 * 0.5 / n**0.5
    assert estimate.value == 0.5
    assert estimate.low == pytest.approx(0.5 - half_width, abs=0.01)
    assert estimate.high == pytest.approx(0.5 + half_width, abs=0.01)


def test_bad_shapes_and_a_missing_class() -> None:
    scores = torch.zeros(2, 4)
    with pytest.raises(DataError, match=r"must be those of the same seeds and 4 cases, got \(2, 4\), \(1, 4\) and 4"):
        PairedAucDifference()(scores, scores[:1], IS_POSITIVE, PATIENTS)
    with pytest.raises(
        DataError, match="a difference of AUCs needs seeds, positives and negatives, got .*'negative': 0"
    ):
        PairedAucDifference()(scores, scores, torch.ones(4, dtype=torch.bool), PATIENTS)
