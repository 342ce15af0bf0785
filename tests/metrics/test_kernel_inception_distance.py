# SPDX-License-Identifier: Apache-2.0
import re

import pytest
import torch
from torchmetrics.image.kid import KernelInceptionDistance as TorchmetricsDistance
from torchmetrics.image.kid import poly_mmd

from medti_components.errors import DataError
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.kernel_inception_distance import KernelInceptionDistance, divide_distances


def gaussian(seed: int, n: int = 100, width: int = 16, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.double) + shift


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_agrees_with_torchmetrics_on_the_same_features(shift: float) -> None:
    x, y = gaussian(0, shift=shift), gaussian(1)
    assert KernelInceptionDistance()(x, y).value == pytest.approx(float(poly_mmd(y, x)), rel=1e-12, abs=1e-12)


def test_agrees_with_the_torchmetrics_metric_with_a_feature_module() -> None:
    x, y = gaussian(0, shift=0.5).float(), gaussian(1).float()
    metric = TorchmetricsDistance(feature=torch.nn.Flatten(), subsets=1, subset_size=100)
    metric.update(x.view(-1, 1, 4, 4), real=False)
    metric.update(y.view(-1, 1, 4, 4), real=True)
    mean, _ = metric.compute()
    assert KernelInceptionDistance()(x, y).value == pytest.approx(float(mean), rel=1e-4)


def test_symmetric_in_the_two_sets() -> None:
    x, y = gaussian(0, n=30, shift=0.3), gaussian(1, n=50)
    one, other = KernelInceptionDistance()(x, y), KernelInceptionDistance()(y, x)
    assert one.value == pytest.approx(other.value, rel=1e-12)
    assert (one.low, one.high) == pytest.approx((other.low, other.high), rel=1e-10)


def test_equal_sets_of_constant_features_are_at_distance_zero() -> None:
    x = torch.full((5, 3), 2.0)
    estimate = KernelInceptionDistance()(x, x)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_constant_features_have_the_kernel_closed_form() -> None:
    # k(x, x) = (2 * 2 + 1)^3 = 125, k(y, y) = (1 + 1)^3 = 8, k(x, y) = (2 + 1)^3 = 27: 125 + 8 - 54 = 79.
    assert KernelInceptionDistance()(torch.full((5, 3), 2.0), torch.full((6, 3), 1.0)).value == pytest.approx(79)


def test_linear_kernel_measures_the_squared_distance_of_the_means() -> None:
    # With degree 1 and gamma 1 the expectation is |mean x - mean y|^2 = 16 * 0.5^2 = 4; unbiased, so the average over
    # trials is within four standard errors of it.
    distance = KernelInceptionDistance(degree=1, gamma=1.0)
    values = torch.tensor([distance(gaussian(2 * t, 20, shift=0.5), gaussian(2 * t + 1, 20)).value for t in range(200)])
    assert float(values.mean()) == pytest.approx(4, abs=4 * float(values.std()) / 200**0.5)


@pytest.mark.parametrize("width", [16, 128])
def test_interval_covers_zero_for_one_distribution_as_often_as_stated(width: int) -> None:
    covered = 0
    for trial in range(200):
        estimate = KernelInceptionDistance()(gaussian(2 * trial, width=width), gaussian(2 * trial + 1, width=width))
        covered += estimate.low <= 0 <= estimate.high
    assert 180 <= covered <= 199


def test_interval_covers_zero_where_few_directions_carry_all() -> None:
    """There the distance is far from normal, and an interval that took it for normal would hold 0 always."""
    scale = torch.arange(1, 17, dtype=torch.double) ** -1.5 * 4
    covered = 0
    for trial in range(200):
        estimate = KernelInceptionDistance()(gaussian(2 * trial) * scale, gaussian(2 * trial + 1) * scale)
        covered += estimate.low <= 0 <= estimate.high
    assert 180 <= covered <= 198


def test_same_seed_gives_the_same_interval() -> None:
    x, y = gaussian(0), gaussian(1)
    assert KernelInceptionDistance(seed=1)(x, y) == KernelInceptionDistance(seed=1)(x, y)
    assert KernelInceptionDistance(seed=1)(x, y) != KernelInceptionDistance(seed=2)(x, y)


def test_interval_covers_the_true_distance_where_distributions_differ() -> None:
    # Degree 2, gamma 1, coefficient 0, one feature: k(x, y) = x^2 y^2, so KID = (E x^2 - E y^2)^2. Here
    # E x^2 = 1 + 1^2 = 2 and E y^2 = 1: KID = 1.
    distance = KernelInceptionDistance(degree=2, gamma=1.0, coefficient=0.0)
    covered = 0
    for trial in range(200):
        estimate = distance(gaussian(2 * trial, 200, 1, shift=1.0), gaussian(2 * trial + 1, 200, 1))
        covered += estimate.low <= 1 <= estimate.high
    assert covered >= 180


@pytest.mark.parametrize(
    ("generated", "real", "message"),
    [
        (
            torch.zeros(3, 2),
            torch.zeros(9, 2),
            "generated features must have shape (n, width) with n >= 4, got (3, 2): ",
        ),
        (torch.zeros(9, 2), torch.zeros(9), "real features must have shape (n, width) with n >= 4, got (9,): "),
        (torch.zeros(9, 2), torch.full((9, 2), torch.nan), "real features must be finite: check the network"),
        (torch.zeros(9, 2), torch.zeros(9, 3), "generated and real features must have one width, got 2 and 3: "),
    ],
)
def test_unfit_features_are_refused(generated: torch.Tensor, real: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match="^" + re.escape(message)):
        KernelInceptionDistance()(generated, real)


def test_ratio_is_undetermined_where_the_denominator_may_be_zero() -> None:
    one = IntervalEstimate(1.0, 0.5, 1.5, {}, "")
    assert divide_distances(one, IntervalEstimate(0.1, -0.1, 0.3, {}, "")) is None


def test_ratio_of_a_distance_that_may_be_negative_spans_zero() -> None:
    ratio = divide_distances(IntervalEstimate(0.1, -0.2, 0.4, {}, ""), IntervalEstimate(2.0, 1.0, 4.0, {}, ""))
    assert ratio is not None
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.05, -0.2, 0.4))
