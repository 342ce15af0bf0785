# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.errors import DataError
from medti_components.metrics.prompt_fidelity import InterpolationTrend

WEIGHTS = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])


def test_rows_that_rise_fall_and_stay_average_to_their_mean():
    rows = torch.stack([WEIGHTS**3, -WEIGHTS, torch.full((5,), 0.2)])
    trend = InterpolationTrend()(rows, WEIGHTS)
    assert trend.value == pytest.approx(0.0)
    assert trend.counts == {"rows": 3}
    assert -1 <= trend.low <= 0 <= trend.high <= 1


def test_correlation_is_of_ranks():
    # ranks 1 2 4 3 5 against 1 2 3 4 5: 1 - 6 * (1 + 1) / (5 * 24) = 0.9
    trend = InterpolationTrend()(torch.tensor([[0.0, 0.1, 100.0, 0.2, 101.0]]), WEIGHTS)
    assert trend.value == pytest.approx(0.9)


@pytest.mark.parametrize("scores", [torch.zeros(0, 5), torch.zeros(3, 4), torch.zeros(5)])
def test_shapes_are_checked(scores):
    with pytest.raises(DataError, match=r"scores must have shape \(rows, steps\)"):
        InterpolationTrend()(scores, WEIGHTS)


def test_scores_must_be_finite():
    with pytest.raises(DataError, match="scores must be finite"):
        InterpolationTrend()(torch.full((1, 5), float("nan")), WEIGHTS)
