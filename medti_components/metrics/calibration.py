# SPDX-License-Identifier: Apache-2.0
"""Whether a classifier's probabilities are what they say."""

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss


class Calibration:
    """Reliability curve, expected calibration error and Brier score of probabilities of a class.

    - the curve holds, for each of ``num_bins`` equally wide bins that is not empty, the mean probability and the share
      of positives in it;
    - expected calibration error = sum over bins of (cases in the bin / cases) * |share - mean probability| (Naeini et
      al., AAAI 2015); 0 for perfect calibration;
    - Brier score = mean (probability - truth)^2; 0 is perfect, 0.25 is that of saying 0.5 always.

    Args:
        truth: whether each case is positive, bool (n,) with n >= 1.
        probabilities: of being positive, (n,) in [0, 1].
        num_bins: bins of the curve.

    >>> figures = Calibration(np.array([False, True, True, True]), np.array([0.25, 0.75, 0.75, 0.75]), num_bins=2)
    >>> figures.expected_error, figures.brier_score, figures.counts.tolist()
    (0.25, 0.0625, [1, 3])
    """

    def __init__(self, truth: NDArray[np.bool_], probabilities: NDArray[np.float64], num_bins: int = 10) -> None:
        edges = np.linspace(0.0, 1.0, num_bins + 1)
        # scikit-learn's bins, (edge, next edge], of which it gives curve but not counts
        own = np.bincount(np.searchsorted(edges[1:-1], probabilities), minlength=num_bins)
        self.counts = own[own > 0]
        self.shares, self.means = calibration_curve(
            truth, probabilities, pos_label=True, n_bins=num_bins, strategy="uniform"
        )
        self.expected_error = float((self.counts / len(truth) * np.abs(self.shares - self.means)).sum())
        self.brier_score = float(brier_score_loss(truth, probabilities, pos_label=True))
