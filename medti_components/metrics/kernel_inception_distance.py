# SPDX-License-Identifier: Apache-2.0
"""The kernel distance between two sets of features, unbiased at any number of images, with its interval."""

from dataclasses import dataclass
from statistics import NormalDist

import torch

from medti_components.errors import DataError
from medti_components.metrics.interval_estimate import IntervalEstimate

MINIMUM_IMAGES = 4
"""The variance of the distance needs n (n - 3) > 0 pairs within each set."""


class KernelInceptionDistance:
    """KID: the squared maximum mean discrepancy under the kernel k(x, y) = (gamma x.y + coefficient) ** degree.

    KID = mean k(x, x') + mean k(y, y') - 2 mean k(x, y), over pairs of different images within each set (Binkowski et
    al., "Demystifying MMD GANs", ICLR 2018, section 4): unbiased, so it may be a little below zero for equal
    distributions. The features are the caller's: any network's, one row an image.

    The interval is value -+ z * sd with the variance of the two-sample U-statistic: its first-order part, freed of the
    second-order part that a plug-in would count twice, plus the second-order part (Hoeffding's decomposition; as in
    Sutherland and Deka, "Unbiased estimators for the variance of MMD estimators", 2019). A bootstrap would triple the
    variance where the distributions agree, which is where it matters most.

    Args:
        degree: exponent of the kernel.
        gamma: factor on the scalar product; 1 / number of features where None.
        coefficient: constant in the kernel.
        confidence: nominal coverage of the interval, in (0, 1).

    >>> stream = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(100, 8, generator=stream), torch.randn(100, 8, generator=stream)
    >>> same, shifted = KernelInceptionDistance()(x, y), KernelInceptionDistance()(x + 1, y)
    >>> same.low < 0 < same.high, shifted.low > same.high
    (True, True)
    """

    def __init__(
        self, degree: int = 3, gamma: float | None = None, coefficient: float = 1.0, confidence: float = 0.95
    ) -> None:
        self.degree = degree
        self.gamma = gamma
        self.coefficient = coefficient
        self.confidence = confidence

    def __call__(self, generated: torch.Tensor, real: torch.Tensor) -> IntervalEstimate:
        """Measure the distance between ``generated`` (m, d) and ``real`` (n, d) features.

        Raises:
            DataError: a set has fewer than four images, or the widths differ, or a feature is not finite.
        """
        for name, features in (("generated", generated), ("real", real)):
            if features.ndim != 2 or len(features) < MINIMUM_IMAGES:
                raise DataError(
                    f"{name} features must have shape (n, width) with n >= {MINIMUM_IMAGES}, "
                    f"got {tuple(features.shape)}: evaluate more images"
                )
            if not bool(torch.isfinite(features).all()):
                raise DataError(f"{name} features must be finite: check the network and the images")
        if generated.shape[1] != real.shape[1]:
            raise DataError(
                f"generated and real features must have one width, got {generated.shape[1]} and {real.shape[1]}: "
                "compute both by the same network"
            )
        x, y = generated.double(), real.double()
        within_x, within_y = _pairs_within(self._kernel(x, x)), _pairs_within(self._kernel(y, y))
        between = _pairs_between(self._kernel(x, y))
        value = within_x.mean + within_y.mean - 2 * between.mean
        spread = _variance(within_x, within_y, between).sqrt()
        margin = NormalDist().inv_cdf(0.5 + self.confidence / 2) * float(spread)
        return IntervalEstimate(
            float(value),
            float(value) - margin,
            float(value) + margin,
            {"images": len(x), "reference": len(y)},
            "normal, variance of the two-sample U-statistic",
            self.confidence,
        )

    def _kernel(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        gamma = 1 / a.shape[1] if self.gamma is None else self.gamma
        return (gamma * a @ b.T + self.coefficient) ** self.degree


@dataclass(frozen=True)
class _Pairs:
    mean: torch.Tensor
    row_means: torch.Tensor
    column_means: torch.Tensor
    residual_variance: torch.Tensor


def _pairs_within(kernel: torch.Tensor) -> _Pairs:
    """Moments of a symmetric (n, n) kernel matrix without its diagonal; residuals are U-centred."""
    n = len(kernel)
    others = ~torch.eye(n, dtype=torch.bool, device=kernel.device)
    off_diagonal = kernel * others
    sums = off_diagonal.sum(1)
    mean = sums.sum() / (n * (n - 1))
    centred = off_diagonal - (sums[:, None] + sums[None]) / (n - 2) + mean * n / (n - 2)
    residual = ((centred * others) ** 2).sum() / (n * (n - 3))
    return _Pairs(mean, sums / (n - 1), sums / (n - 1), residual)


def _pairs_between(kernel: torch.Tensor) -> _Pairs:
    """Moments of an (m, n) kernel matrix between two sets."""
    m, n = kernel.shape
    rows, columns, mean = kernel.mean(1), kernel.mean(0), kernel.mean()
    centred = kernel - rows[:, None] - columns[None] + mean
    return _Pairs(mean, rows, columns, (centred**2).sum() / ((m - 1) * (n - 1)))


def _variance(x: _Pairs, y: _Pairs, between: _Pairs) -> torch.Tensor:
    m, n = len(x.row_means), len(y.row_means)
    first_x = (x.row_means - between.row_means).var() - x.residual_variance / (m - 1) - between.residual_variance / n
    first_y = (y.row_means - between.column_means).var() - y.residual_variance / (n - 1) - between.residual_variance / m
    first_order = 4 * first_x.clamp(min=0) / m + 4 * first_y.clamp(min=0) / n
    second_order = 2 * x.residual_variance / (m * (m - 1)) + 2 * y.residual_variance / (n * (n - 1))
    return first_order + second_order + 4 * between.residual_variance / (m * n)


def divide_distances(numerator: IntervalEstimate, denominator: IntervalEstimate) -> IntervalEstimate | None:
    """Divide two distances; the interval takes the least favourable ends of both, so it is wider than nominal.

    None where the denominator's interval reaches zero, since the ratio is then undetermined.

    >>> a = IntervalEstimate(0.2, 0.1, 0.3, {"generated": 9}, "", 0.95)
    >>> b = IntervalEstimate(2.0, 1.0, 4.0, {"generated": 9}, "", 0.95)
    >>> print(divide_distances(a, b))
    0.100 [0.025, 0.300]
    """
    if denominator.low <= 0:
        return None
    ends = [top / bottom for top in (numerator.low, numerator.high) for bottom in (denominator.low, denominator.high)]
    return IntervalEstimate(
        numerator.value / denominator.value,
        min(ends),
        max(ends),
        numerator.counts,
        "least favourable ends of both intervals",
        numerator.confidence,
    )
