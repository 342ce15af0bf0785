# SPDX-License-Identifier: Apache-2.0
import pytest

from medti_components.metrics.interval_estimate import IntervalEstimate


def test_json_form_holds_interval_count_and_method() -> None:
    estimate = IntervalEstimate(0.5, 0.25, 0.75, {"generated": 7, "real": 9}, "exact", 0.9)
    assert estimate.as_dict() == {
        "value": 0.5,
        "interval": [0.25, 0.75],
        "confidence": 0.9,
        "method": "exact",
        "n": {"generated": 7, "real": 9},
    }


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [(0.9, 0.8, 1.0, "0.900 [0.800, 1.000]"), (0.00123, -0.0005, 0.0042, "0.00123 [-0.0005, 0.0042]")],
)
def test_small_figures_keep_three_digits(value: float, low: float, high: float, text: str) -> None:
    assert str(IntervalEstimate(value, low, high, {}, "")) == text
