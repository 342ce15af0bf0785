# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.errors import DataError
from medti_components.metrics.exact_share import share_difference

GROUPS = ("generated", "real")


def shares(count, total):
    return torch.arange(total) < count


@pytest.mark.parametrize(
    ("first", "second", "bounds"),  # Newcombe 1998, table II, method 10
    [((56, 70), (48, 80), (0.0524, 0.3339)), ((9, 10), (3, 10), (0.1705, 0.8090)), ((10, 10), (0, 20), (0.6791, 1))],
)
def test_intervals_are_those_of_the_paper(first, second, bounds):
    difference = share_difference(shares(*first), shares(*second), GROUPS)
    assert (difference.low, difference.high) == pytest.approx(bounds, abs=5e-5)
    assert difference.counts == {"generated": first[1], "real": second[1]}


def test_exchange_turns_the_sign():
    there, back = (
        share_difference(*(shares(*each) for each in pair), GROUPS) for pair in (((3, 9), (5, 8)), ((5, 8), (3, 9)))
    )
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_no_outcomes_are_refused():
    with pytest.raises(DataError, match=r"^real outcomes must have shape \(n,\) with n >= 1, got \(0,\): add some$"):
        share_difference(shares(1, 2), shares(0, 0), GROUPS)
