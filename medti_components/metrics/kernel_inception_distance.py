# SPDX-License-Identifier: Apache-2.0
"""The kernel distance between two sets of features, unbiased at any number of images, with its interval."""

from dataclasses import dataclass
from statistics import NormalDist

import torch

from medti_components.errors import DataError
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.random_streams import random_stream

MINIMUM_IMAGES = 4
"""The variance of the distance needs n (n - 3) > 0 pairs within each set."""


class KernelInceptionDistance:
    """KID: the squared maximum mean discrepancy under the kernel k(x, y) = (gamma x.y + coefficient) ** degree.

    KID = mean k(x, x') + mean k(y, y') - 2 mean k(x, y), over pairs of different images within each set (Binkowski et
    al., "Demystifying MMD GANs", ICLR 2018, section 4): unbiased, so it may be a little below zero for equal
    distributions. The features are the caller's: any network's, one row an image.

    The distance varies by two parts (Hoeffding's decomposition). The first-order one is normal and vanishes where the
    distributions agree; its variance is estimated freed of the second-order part that a plug-in would count twice (as
    in Sutherland and Deka, "Unbiased estimators for the variance of MMD estimators", 2019). The second-order one is
    skewed and is all that is left where they agree: its quantiles are those of the distance between sets into which
    all images are dealt at random (Gretton et al., "A kernel two-sample test", JMLR 2012, section 5). Each end of the
    interval is the root of the sum of both squared. A normal interval would hold 0 nearly always where the features
    have few directions; a bootstrap would triple the variance where the distributions agree.

    Args:
        degree: exponent of the kernel.
        gamma: factor on the scalar product; 1 / number of features where None.
        coefficient: constant in the kernel.
        confidence: nominal coverage of the interval, in (0, 1).
        num_permutations: ways in which the images are dealt.
        seed: draws them.

    >>> stream = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(100, 8, generator=stream), torch.randn(100, 8, generator=stream)
    >>> same, shifted = KernelInceptionDistance()(x, y), KernelInceptionDistance()(x + 1, y)
    >>> same.low < 0 < same.high, shifted.low > same.high
    (True, True)
    """

    def __init__(
        self,
        degree: int = 3,
        gamma: float | None = None,
        coefficient: float = 1.0,
        confidence: float = 0.95,
        num_permutations: int = 400,
        seed: int = 0,
    ) -> None:
        self.num_permutations = num_permutations
        self.seed = seed
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
        kernels = self._kernel(x, x), self._kernel(y, y), self._kernel(x, y)
        within_x, within_y, between = _pairs_within(kernels[0]), _pairs_within(kernels[1]), _pairs_between(kernels[2])
        value = float(within_x.mean + within_y.mean - 2 * between.mean)
        share = 0.5 + self.confidence / 2
        first_order = NormalDist().inv_cdf(share) ** 2 * float(_first_order_variance(within_x, within_y, between))
        is_ordered = (len(x), float(within_x.mean)) <= (len(y), float(within_y.mean))  # either order, one interval
        dealt = self._dealt(*kernels) if is_ordered else self._dealt(kernels[1], kernels[0], kernels[2].T)
        below, above = (float(dealt.quantile(quantile)) for quantile in (1 - share, share))
        return IntervalEstimate(
            value,
            value - (first_order + above**2) ** 0.5,
            value + (first_order + below**2) ** 0.5,
            {"images": len(x), "reference": len(y)},
            "first-order variance of the U-statistic, permutations",
            self.confidence,
        )

    def _dealt(self, within_x: torch.Tensor, within_y: torch.Tensor, between: torch.Tensor) -> torch.Tensor:
        """Distances (num_permutations,) of sets of the same sizes into which the images of both are dealt."""
        m, n = between.shape
        kernel = torch.cat([torch.cat([within_x, between], 1), torch.cat([between.T, within_y], 1)])
        kernel.fill_diagonal_(0)
        order = torch.rand(
            self.num_permutations, m + n, generator=random_stream(self.seed, "permutations", m, n), dtype=kernel.dtype
        )
        in_first = torch.zeros_like(order).scatter_(1, order.argsort(1)[:, :m], 1).to(kernel)
        first = ((in_first @ kernel) * in_first).sum(1)
        across = in_first @ kernel.sum(1) - first
        second = kernel.sum() - first - 2 * across
        return first / (m * (m - 1)) + second / (n * (n - 1)) - 2 * across / (m * n)

    def _kernel(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        gamma = 1 / a.shape[1] if self.gamma is None else self.gamma
        return (gamma * a @ b.T + self.coefficient) ** self.degree


@dataclass(frozen=True)
class FeatureScale:
    """Centre and spread of real images' features; ``scale(f) = (f - centre) / spread``, one spread for all features.

    The kernel of KID, (x.y / d + 1) ** 3, was made for Inception's features. Those of a small classifier have whatever
    size its training left them; this makes the distance independent of that. A spread for each feature would blow up
    those that hardly vary.

    Args:
        centre: mean features, (d,).
        spread: root of the mean variance over the features, > 0.

    >>> scale = FeatureScale.of(torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]))
    >>> scale(torch.tensor([[2.0, 1.0]]))
    tensor([[0., 0.]])
    """

    centre: torch.Tensor
    spread: torch.Tensor

    @classmethod
    def of(cls, features: torch.Tensor) -> "FeatureScale":
        """Take the scale of real images' ``features`` (n, d), n >= 2.

        Raises:
            DataError: all images have the same features.
        """
        spread = features.var(dim=0).mean().sqrt()
        if not float(spread) > 0:
            raise DataError(
                "features must differ between images, got one value for all: train the classifier for longer"
            )
        return cls(features.mean(dim=0), spread)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Scale ``features`` (n, d)."""
        return (features - self.centre) / self.spread


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


def _first_order_variance(x: _Pairs, y: _Pairs, between: _Pairs) -> torch.Tensor:
    m, n = len(x.row_means), len(y.row_means)
    first_x = (x.row_means - between.row_means).var() - x.residual_variance / (m - 1) - between.residual_variance / n
    first_y = (y.row_means - between.column_means).var() - y.residual_variance / (n - 1) - between.residual_variance / m
    return 4 * first_x.clamp(min=0) / m + 4 * first_y.clamp(min=0) / n


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
