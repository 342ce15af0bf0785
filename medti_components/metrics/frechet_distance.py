# SPDX-License-Identifier: Apache-2.0
"""The distance of two sets of features, each taken for a Gaussian: FID where the features are Inception's."""

import torch
from torch import Tensor

from medti_components.errors import DataError
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.jackknife_interval import JackknifeInterval


def frechet_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return |mean x - mean y|^2 + tr(Cx + Cy - 2 (Cx Cy)^(1/2)) of features (n, D) and (m, D); Heusel et al., 2017.

    With X^T X = Cx the trace of the root is the sum of the singular values of X Y^T, which has no more rows and columns
    than there are images: a hundred images take milliseconds at any width, where the root of a covariance of 2048
    features takes half a minute, too long for an interval.

    >>> stream = torch.Generator().manual_seed(0)
    >>> x = torch.randn(50, 8, generator=stream, dtype=torch.float64)
    >>> round(float(frechet_distance(x, x)), 9) == 0, round(float(frechet_distance(x, x + 2)), 6)  # 8 * 2^2
    (True, 32.0)
    """
    means = [features.double().mean(dim=0) for features in (x, y)]
    roots = [_root(features.double() - mean) for features, mean in zip((x, y), means, strict=True)]
    spread = sum((root**2).sum() for root in roots)
    distance: Tensor = (
        ((means[0] - means[1]) ** 2).sum() + spread - 2 * torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    )
    return distance


def _root(centred: Tensor) -> Tensor:
    """Return R, (min(n, D), D), with R^T R the covariance."""
    scaled = centred / (len(centred) - 1) ** 0.5
    return scaled if len(centred) <= centred.shape[1] else torch.linalg.qr(scaled, mode="r").R


class FrechetDistance:
    """:func:`frechet_distance` with its interval.

    At n images the distance is far above zero even for equal distributions (its bias grows with the features' width and
    falls with n), so that it says something only beside that of other real images at the same n.

    Args:
        interval: of subsets.

    >>> stream = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(60, 4, generator=stream), torch.randn(60, 4, generator=stream)
    >>> same, other = FrechetDistance()(x, y), FrechetDistance()(x + 1, y)
    >>> same.high < other.low, other.counts
    (True, {'images': 60, 'reference': 60})
    """

    def __init__(self, interval: JackknifeInterval | None = None) -> None:
        self.interval = interval or JackknifeInterval()

    def __call__(self, generated: Tensor, real: Tensor) -> IntervalEstimate:
        """Measure the distance between ``generated`` (m, D) and ``real`` (n, D) features.

        Raises:
            DataError: a set has fewer than three images, or the widths differ.
        """
        for name, features in (("generated", generated), ("real", real)):
            if features.ndim != 2 or len(features) < 3:
                raise DataError(
                    f"{name} features must have shape (n, width) with n >= 3, got {tuple(features.shape)}: evaluate "
                    "more images"
                )
        if generated.shape[1] != real.shape[1]:
            raise DataError(
                f"generated and real features must have one width, got {generated.shape[1]} and {real.shape[1]}: "
                "compute both by the same network"
            )
        return self.interval(
            lambda chosen: frechet_distance(generated[chosen[0]], real[chosen[1]]),
            {"images": len(generated), "reference": len(real)},
            lowest=0.0,
        )
