# SPDX-License-Identifier: Apache-2.0
"""Precision, recall, density and coverage: how much of each set lies where the other one is."""

from collections.abc import Callable, Sequence

import torch
from scipy.stats import binomtest
from torch import Tensor

from medti_components.errors import DataError
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.jackknife_interval import JackknifeInterval


class ManifoldScores:
    """The four scores of two sets of features, by balls around each image that reach to its k-th nearest neighbour.

    - precision: share of generated images in a ball of a real one; recall: share of real images in a ball of a
      generated one (Kynkaanniemi et al., "Improved precision and recall metric for assessing generative models", 2019);
    - density: how many balls of real images a generated one is in, over k, 1 for equal distributions; coverage: share
      of real images whose ball holds a generated one (Naeem et al., "Reliable fidelity and diversity metrics", 2020).

    An interval of a share is at least as wide as Wilson's, so that 0 and 1 are not taken for certain.

    Args:
        num_neighbours: k.
        interval: of subsets.

    >>> x = torch.arange(20.0)[:, None]
    >>> scores = ManifoldScores(num_neighbours=2)(x + 0.25, x)
    >>> {name: score.value for name, score in scores.items()}
    {'precision': 1.0, 'recall': 1.0, 'density': 1.025, 'coverage': 1.0}
    """

    def __init__(self, num_neighbours: int = 5, interval: JackknifeInterval | None = None) -> None:
        self.num_neighbours = num_neighbours
        self.interval = interval or JackknifeInterval()

    @property
    def minimum_images(self) -> int:
        """Fewest images of a set that have k neighbours in every subset."""
        return 2 * self.num_neighbours + 2

    def __call__(self, generated: Tensor, real: Tensor) -> dict[str, IntervalEstimate]:
        """Score ``generated`` (m, D) against ``real`` (n, D) features.

        Raises:
            DataError: a set is too small for k neighbours in every subset, or the widths differ.
        """
        k, least = self.num_neighbours, self.minimum_images
        for name, features in (("generated", generated), ("real", real)):
            if features.ndim != 2 or len(features) < least:
                raise DataError(
                    f"{name} features must have shape (n, width) with n >= {least} for {k} nearest neighbours, got "
                    f"{tuple(features.shape)}: evaluate more images"
                )
        if generated.shape[1] != real.shape[1]:
            raise DataError(
                f"generated and real features must have one width, got {generated.shape[1]} and {real.shape[1]}: "
                "compute both by the same network"
            )
        x, y = generated.double(), real.double()
        within_x, within_y, between = _distances(x, x), _distances(y, y), _distances(x, y)

        def balls(chosen: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
            """Whether each generated image is in each real one's ball, and the other way round, both (m, n)."""
            rows, columns = chosen
            apart = between[rows][:, columns]
            real_radii = _radii(within_y[columns][:, columns], k)
            return apart < real_radii[None], apart < _radii(within_x[rows][:, rows], k)[:, None]

        metrics: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
            "precision": lambda chosen: balls(chosen)[0].any(dim=1).double().mean(),
            "recall": lambda chosen: balls(chosen)[1].any(dim=0).double().mean(),
            "density": lambda chosen: balls(chosen)[0].double().sum(dim=1).mean() / k,
            "coverage": lambda chosen: balls(chosen)[0].any(dim=0).double().mean(),
        }
        counts = {"images": len(x), "reference": len(y)}
        estimates = {name: self.interval(metric, counts, lowest=0.0) for name, metric in metrics.items()}
        totals = {"precision": len(x), "recall": len(y), "coverage": len(y)}
        return {
            name: _at_least_wilson(estimate, totals[name]) if name in totals else estimate
            for name, estimate in estimates.items()
        }


def _distances(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _radii(distances: Tensor, k: int) -> Tensor:
    """Distance of each image to its k-th nearest other one, from (n, n) with zeros on the diagonal."""
    return distances.kthvalue(k + 1, dim=1).values


def _at_least_wilson(estimate: IntervalEstimate, total: int) -> IntervalEstimate:
    wilson = binomtest(round(estimate.value * total), total).proportion_ci(estimate.confidence, method="wilson")
    return IntervalEstimate(
        estimate.value,
        min(estimate.low, float(wilson.low)),
        min(1.0, max(estimate.high, float(wilson.high))),
        estimate.counts,
        f"{estimate.method}, at least Wilson's",
        estimate.confidence,
    )
