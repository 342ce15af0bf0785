# SPDX-License-Identifier: Apache-2.0
"""What phantoms of all modalities share: checks of their numbers, their tables, and smooth random values."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medti_components.errors import ConfigError


def check_numbers(numbers: Mapping[str, Any], highest: int) -> None:
    """Check numbers that a command was given, by key: whole ones from 0 to ``highest``, ``seed`` up to 2**63.

    Raises:
        ConfigError: one is another.
    """
    for key, value in numbers.items():
        limit = 2**63 if key == "seed" else highest
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
            raise ConfigError(f"{key} must be a whole number from 0 to {limit}, got {value!r}: correct --{key}")


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file that phantoms were written beside before; none where there is no file."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def between(random: np.random.Generator, low: float, high: float) -> float:
    """Draw a number from ``low`` to ``high``, each as likely."""
    return float(random.uniform(low, high))


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


def smooth_values(
    random: np.random.Generator, rows: np.ndarray, columns: np.ndarray, layers: tuple[int, ...] = ()
) -> np.ndarray:
    """Return smooth random values (*layers, rows, columns) of about unit spread.

    Args:
        random: draws the values at the knots.
        rows: :func:`spline_weights` of the rows of pixels.
        columns: :func:`spline_weights` of the columns.
        layers: sizes of what is drawn independently, for instance the number of slices.
    """
    knots = random.standard_normal((*layers, rows.shape[1], columns.shape[1]), dtype=np.float32)
    return rows @ knots @ columns.T
