# SPDX-License-Identifier: Apache-2.0
"""In how many images a classifier sees what was asked for."""

from scipy.stats import binomtest
from torch import Tensor

from medti_components.errors import DataError
from medti_components.metrics.interval_estimate import IntervalEstimate


class DetectionRate:
    """Share of images in which every finding asked for is seen, with Wilson's interval.

    Args:
        threshold: probability from which a finding counts as seen.
        confidence: nominal coverage of the interval, in (0, 1).

    >>> import torch
    >>> probabilities = torch.tensor([[0.9, 0.8], [0.9, 0.2], [0.1, 0.7]])
    >>> wanted = torch.tensor([[True, True], [True, True], [False, True]])
    >>> print(round(DetectionRate()(probabilities, wanted).value, 3))
    0.667
    """

    def __init__(self, threshold: float = 0.5, confidence: float = 0.95) -> None:
        self.threshold = threshold
        self.confidence = confidence

    def __call__(self, probabilities: Tensor, wanted: Tensor) -> IntervalEstimate:
        """Measure.

        Args:
            probabilities: of each finding in each image, (n, findings) in [0, 1].
            wanted: whether a finding was asked for, bool (n, findings); at least one an image.

        Raises:
            DataError: there is no image, shapes differ, or an image was asked for no finding.
        """
        if probabilities.ndim != 2 or len(probabilities) == 0 or probabilities.shape != wanted.shape:
            raise DataError(
                "probabilities and wanted must both have shape (n, findings) with n >= 1, got "
                f"{tuple(probabilities.shape)} and {tuple(wanted.shape)}"
            )
        if not bool(wanted.any(dim=1).all()):
            raise DataError("every image must be asked for at least one finding: leave out images of no finding")
        return self.of_outcomes(((probabilities >= self.threshold) | ~wanted).all(dim=1))

    def of_outcomes(self, outcomes: Tensor) -> IntervalEstimate:
        """Return the share of true values among ``outcomes``, bool (n,) with n >= 1."""
        count, total = int(outcomes.sum()), len(outcomes)
        interval = binomtest(count, total).proportion_ci(self.confidence, method="wilson")
        return IntervalEstimate(
            count / total, float(interval.low), float(interval.high), {"images": total}, "Wilson", self.confidence
        )
