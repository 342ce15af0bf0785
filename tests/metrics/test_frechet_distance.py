# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from medti_components.errors import DataError
from medti_components.metrics.frechet_distance import FrechetDistance, frechet_distance


def features(seed, n, width, shift=0.0, scale=1.0):
    stream = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(99), dtype=torch.float64) / width**0.5
    return torch.randn(n, width, generator=stream, dtype=torch.float64) @ mixing * scale + shift


class FeaturesAsTheyAre(nn.Identity):
    def __init__(self, width):
        super().__init__()
        self.num_features = width


@pytest.mark.parametrize(("n", "m", "width"), [(100, 80, 24), (40, 30, 64), (30, 200, 64)])
def test_agrees_with_torchmetrics_and_scipy(n, m, width):
    x, y = features(0, n, width), features(1, m, width, 0.3, 1.2)
    value = float(frechet_distance(x, y))
    metric = FrechetInceptionDistance(feature=FeaturesAsTheyAre(width)).set_dtype(torch.float64)
    metric.update(y, real=True)
    metric.update(x, real=False)
    assert value == pytest.approx(float(metric.compute()), rel=1e-4)
    cx, cy = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    root = np.trace(np.real(sqrtm(cx @ cy)))
    by_scipy = float(((x.mean(0) - y.mean(0)) ** 2).sum()) + np.trace(cx) + np.trace(cy) - 2 * root
    assert value == pytest.approx(by_scipy, rel=1e-4)


def test_two_gaussians_have_the_closed_form():
    """N(0, 1) and N(m, s^2) in each of d independent features: d (m^2 + (1 - s)^2), here 8 (0.25 + 0.25) = 4."""
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(200_000, 8, generator=stream, dtype=torch.float64)
    y = torch.randn(200_000, 8, generator=stream, dtype=torch.float64) * 1.5 + 0.5
    assert float(frechet_distance(x, y)) == pytest.approx(4, rel=0.01)


def test_is_symmetric_and_zero_for_the_same():
    x, y = features(0, 50, 16), features(1, 40, 16, 0.5)
    assert float(frechet_distance(x, y)) == pytest.approx(float(frechet_distance(y, x)))
    assert abs(float(frechet_distance(x, x))) < 1e-8


def test_interval_holds_the_figure():
    estimate = FrechetDistance()(features(0, 60, 16), features(1, 50, 16, 1.0))
    assert estimate.low < estimate.value < estimate.high
    assert estimate.counts == {"images": 60, "reference": 50}


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(2, 4), torch.zeros(9, 4), "generated features must have shape (n, width) with n >= 3, got (2, 4)"),
        (torch.zeros(9, 4), torch.zeros(2, 4), "real features must have shape (n, width) with n >= 3, got (2, 4)"),
        (torch.zeros(9, 4), torch.zeros(9, 5), "generated and real features must have one width, got 4 and 5"),
    ],
)
def test_unfit_features(x, y, message):
    with pytest.raises(DataError, match="^" + re.escape(message)):
        FrechetDistance()(x, y)
