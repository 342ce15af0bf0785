# SPDX-License-Identifier: Apache-2.0
"""Smooth random textures for phantoms."""

import numpy as np


def spline_weights(centres: np.ndarray, grain: float) -> np.ndarray:
    """Return weights (pixels, knots) of quadratic B-splines, knots every ``grain`` / 2, each row of unit length.

    Standard normal values at the knots give smooth values of unit variance at the pixels.

    Args:
        centres: places of the pixels, ascending.
        grain: size of the grains, in the units of ``centres``.

    >>> weights = spline_weights(np.arange(5.0), grain=4.0)
    >>> bool(np.allclose((weights**2).sum(axis=1), 1))
    True
    """
    knots = np.arange(centres[0] - grain, centres[-1] + grain, grain / 2, dtype=np.float32)
    distance = np.abs(centres[:, None] - knots[None]) / (grain / 2)
    weights = np.where(distance < 0.5, 0.75 - distance**2, 0.5 * np.clip(1.5 - distance, 0, None) ** 2)
    return weights / np.linalg.norm(weights, axis=1, keepdims=True)
