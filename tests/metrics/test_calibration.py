# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from torch import from_numpy
from torchmetrics.functional.classification import binary_calibration_error

from medti_components.metrics.roc_auc import Calibration


def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    probabilities = random.random(n)
    return random.random(n) < probabilities, probabilities


def test_probabilities_that_are_true_have_a_small_error_and_the_brier_score_of_their_spread() -> None:
    figures = Calibration(*drawn(20_000))
    assert figures.expected_error < 0.02
    assert figures.brier_score == pytest.approx(1 / 6, abs=0.01)  # E p (1 - p) of uniform p
    assert figures.counts.sum() == 20_000


def test_agrees_with_torchmetrics() -> None:
    truth, probabilities = drawn(200)
    expected = binary_calibration_error(from_numpy(probabilities), from_numpy(truth).int(), n_bins=10)
    assert Calibration(truth, probabilities).expected_error == pytest.approx(float(expected), abs=1e-6)


def test_saying_one_half_always() -> None:
    truth = np.array([True, True, True, False])
    figures = Calibration(truth, np.full(4, 0.5))
    assert (figures.expected_error, figures.brier_score, figures.counts.tolist()) == (0.25, 0.25, [4])


def test_edges_of_bins_count_as_in_the_curve() -> None:
    truth, probabilities = np.array([False, True, False, True, True]), np.array([0.0, 0.1, 0.2, 0.5, 1.0])
    figures = Calibration(truth, probabilities)
    assert figures.counts.tolist() == [2, 1, 1, 1]
    assert figures.shares.tolist() == [0.5, 0.0, 1.0, 1.0]
    assert (figures.counts * figures.means).sum() == pytest.approx(probabilities.sum())
