# SPDX-License-Identifier: Apache-2.0
import re

import pytest
import torch
from sklearn.metrics import roc_auc_score

from medti_components.errors import DataError
from medti_components.metrics.roc_auc import RocAuc


def scores(seed: int, n: int, shift: float) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed)) + shift


def test_agrees_with_scikit_learn_ties_included() -> None:
    positive, negative = scores(0, 40, 0.7).round(decimals=0), scores(1, 30, 0.0).round(decimals=0)
    expected = roc_auc_score([1] * 40 + [0] * 30, torch.cat([positive, negative]).numpy())
    assert RocAuc()(positive, negative).value == pytest.approx(expected, rel=1e-12)


def test_equal_scores_give_one_half() -> None:
    assert RocAuc()(torch.zeros(5), torch.zeros(7)).value == 0.5


def test_swapping_the_groups_mirrors_the_area() -> None:
    positive, negative = scores(0, 20, 0.7), scores(1, 20, 0.0)
    assert RocAuc()(positive, negative).value == pytest.approx(1 - RocAuc()(negative, positive).value)


def test_same_seed_gives_the_same_interval() -> None:
    positive, negative = scores(0, 20, 0.7), scores(1, 20, 0.0)
    assert RocAuc(seed=3)(positive, negative) == RocAuc(seed=3)(positive, negative)
    assert RocAuc(seed=3)(positive, negative).low != RocAuc(seed=4)(positive, negative).low


def test_interval_covers_the_true_area_as_often_as_stated() -> None:
    # Two normals one standard deviation apart: area = Phi(1 / sqrt 2) = 0.7602.
    covered = 0
    for trial in range(100):
        estimate = RocAuc(num_resamples=400)(scores(2 * trial, 60, 1.0), scores(2 * trial + 1, 60, 0.0))
        covered += estimate.low <= 0.7602 <= estimate.high
    assert covered >= 88


def test_complete_separation_has_an_interval_of_some_width() -> None:
    # Newcombe's score interval solves (1 - a)^2 = z^2 a (1 - a) (1 + (N - 1) ((1 - a)/(2 - a) + a/(1 + a))) / (m n),
    # with N = (m + n) / 2.
    estimate = RocAuc()(torch.ones(50), torch.zeros(50))
    a = estimate.low
    variance = a * (1 - a) * (1 + 49 * ((1 - a) / (2 - a) + a / (1 + a))) / 2500
    assert (1 - a) ** 2 == pytest.approx(1.959964**2 * variance, rel=1e-5)
    assert 0.9 < a < 1
    assert estimate.high == 1
    mirrored = RocAuc()(torch.zeros(50), torch.ones(50))
    assert (mirrored.value, mirrored.low, mirrored.high) == pytest.approx((0, 0, 1 - a))


@pytest.mark.parametrize(
    ("positive", "negative", "message"),
    [
        (torch.zeros(0), torch.zeros(3), "positive scores must have shape (n,) with n >= 1, got (0,)"),
        (torch.zeros(2), torch.zeros(3, 1), "negative scores must have shape (n,) with n >= 1, got (3, 1)"),
        (torch.tensor([torch.inf]), torch.zeros(3), "positive scores must be finite: check the classifier"),
    ],
)
def test_unfit_scores_are_refused(positive: torch.Tensor, negative: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match="^" + re.escape(message)):
        RocAuc()(positive, negative)


def test_patients_of_one_score_each_change_nothing_but_the_words() -> None:
    positive, negative = scores(0, 20, 0.7), scores(1, 15, 0.0)
    plain, grouped = RocAuc()(positive, negative), RocAuc()(positive, negative, (range(20), range(100, 115)))
    assert (grouped.value, grouped.low, grouped.high) == (plain.value, plain.low, plain.high)
    assert grouped.method == "stratified bootstrap over patients"


def test_scores_of_one_patient_count_as_one() -> None:
    # Each score five times over tells no more than once: the interval stays, where images alone would narrow it.
    positive, negative = scores(0, 20, 0.7), scores(1, 20, 0.0)
    once = RocAuc()(positive, negative)
    repeated = positive.repeat_interleave(5), negative.repeat_interleave(5)
    patients = [patient for patient in range(20) for _ in range(5)], [100 + n for n in range(20) for _ in range(5)]
    grouped = RocAuc()(*repeated, patients)
    assert grouped.value == pytest.approx(once.value)
    assert grouped.high - grouped.low == pytest.approx(once.high - once.low, rel=0.1)
    naive = RocAuc()(*repeated)
    assert naive.high - naive.low < 0.6 * (grouped.high - grouped.low)


def test_patients_with_scores_in_both_groups_are_drawn_once_for_both() -> None:
    # What a patient's two scores share cancels in part: the interval is narrower than of independent scores.
    own, patients = scores(2, 60, 0.0) * 2, (range(60), range(60))
    positive, negative = own + scores(0, 60, 1.0), own + scores(1, 60, 0.0)
    grouped, apart = RocAuc()(positive, negative, patients), RocAuc()(positive, negative)
    assert grouped.low < grouped.value == apart.value < grouped.high
    assert grouped.high - grouped.low < 0.8 * (apart.high - apart.low)


def test_complete_separation_goes_by_the_number_of_patients() -> None:
    grouped = RocAuc()(torch.ones(50), torch.zeros(50), ([n // 5 for n in range(50)], [10 + n // 5 for n in range(50)]))
    assert grouped.low == RocAuc()(torch.ones(10), torch.zeros(10)).low


def test_as_many_patients_as_scores() -> None:
    with pytest.raises(DataError, match="patients must be one a score, {'positive': 2, 'negative': 3}, got \\(2, 2\\)"):
        RocAuc()(torch.ones(2), torch.zeros(3), ([1, 2], [3, 4]))
