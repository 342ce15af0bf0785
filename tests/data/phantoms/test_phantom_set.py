# SPDX-License-Identifier: Apache-2.0
import numpy as np

from medti_components.data.phantoms.phantom_set import spline_weights


def test_each_pixel_has_unit_variance_whatever_the_grain():
    for grain in (3.0, 10.0):
        weights = spline_weights(np.arange(-4.0, 9.0, 0.5), grain)
        np.testing.assert_allclose((weights**2).sum(axis=1), 1, rtol=1e-6)


def test_larger_grains_are_smoother():
    """Neighbouring pixels share more of their knots: their correlation is the product of their weights."""
    correlations = [
        (weights[:-1] * weights[1:]).sum(axis=1) for weights in (spline_weights(np.arange(40.0), g) for g in (4, 16))
    ]
    assert correlations[1].min() > correlations[0].max()
