# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.metrics.jackknife_interval import JackknifeInterval


def difference(x, y):
    return lambda chosen: x[chosen[0]].mean() - y[chosen[1]].mean()


def test_variances_of_independent_sets_add_up():
    """Without one image at a time the jackknife of a mean is the textbook's s^2 / n."""
    stream = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, generator=stream, dtype=torch.float64) for n in (30, 50))
    estimate = JackknifeInterval(num_groups=1000)(difference(x, y), {"x": 30, "y": 50})
    margin = 1.990847 * float(x.var() / 30 + y.var() / 50) ** 0.5  # t of 29 + 49 degrees of freedom, 95 %
    assert estimate.high - estimate.value == pytest.approx(margin, rel=1e-6)
    assert estimate.value == pytest.approx(float(x.mean() - y.mean()))
    assert estimate.counts == {"x": 30, "y": 50}


def test_groups_cover_the_truth_as_often_as_said():
    stream = torch.Generator().manual_seed(1)
    covered = 0
    for _ in range(200):
        x, y = (torch.randn(40, generator=stream) for _ in range(2))
        estimate = JackknifeInterval(num_groups=8)(difference(x, y), {"x": 40, "y": 40})
        covered += estimate.low <= 0 <= estimate.high
    assert 0.9 <= covered / 200 <= 0.99


def test_same_seed_gives_the_same_interval():
    x = torch.randn(50, generator=torch.Generator().manual_seed(0))
    first, second, other = (
        JackknifeInterval(seed=seed)(lambda chosen: x[chosen[0]].mean(), {"x": 50}) for seed in (0, 0, 1)
    )
    assert first == second != other


def test_interval_ends_at_the_bounds():
    x = torch.randn(20, generator=torch.Generator().manual_seed(0))
    estimate = JackknifeInterval()(lambda chosen: x[chosen[0]].mean() * 0 + 0.5 + x[chosen[0]].mean(), {"x": 20}, 0.49)
    assert estimate.low >= 0.49
