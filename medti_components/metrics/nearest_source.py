# SPDX-License-Identifier: Apache-2.0
"""Which source an image is nearest to, and how much nearer than to the next ones."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NUM_COMPARED = 20
_SMALLEST_RATIO = 1e-3


@dataclass(frozen=True)
class NearestSource:
    """The nearest source of each of n images.

    Args:
        indices: which one, int64 (n,).
        distances: to it, (n,), at least 0.
        closeness: ``log(median distance of the next 20 sources / distance)``, float32 (n,), from 0 to 6.9.

    Closeness says how far the nearest source stands out. Unlike the distance it does not grow where an image is smooth
    or usual, hence near to every source, as generated images often are. Where distances near an image grow as those of
    points in k dimensions do, it is the largest of ten exponential variables of rate k (Renyi's representation), so its
    upper tail is exponential.
    """

    indices: Tensor
    distances: Tensor
    closeness: Tensor

    @classmethod
    def of(cls, distances: Tensor, patients: Sequence[Hashable]) -> "NearestSource":
        """Find it in ``distances`` (n, m), m >= 2, of which those that are infinite are left out.

        Args:
            distances: of n images to m sources.
            patients: the patient of each source; further images of the nearest one's patient are not compared with.

        >>> found = NearestSource.of(torch.tensor([[4.0, 1.0, 3.0, 1.0]]), ["a", "b", "c", "b"])
        >>> int(found.indices), round(float(found.closeness.exp()), 3)
        (1, 3.0)
        """
        nearest = distances.min(dim=1)
        numbers = {patient: number for number, patient in enumerate(dict.fromkeys(patients))}
        patient = torch.tensor([numbers[each] for each in patients])
        is_other = (patient[None] != patient[nearest.indices][:, None]) & distances.isfinite()
        closeness = []
        for row, other, smallest in zip(distances, is_other, nearest.values, strict=True):
            following = row[other].sort().values[:NUM_COMPARED]
            usual = following.median() if len(following) else smallest
            closeness.append(-torch.log((smallest / usual).clamp(_SMALLEST_RATIO, 1)) if usual > 0 else torch.zeros(()))
        return cls(nearest.indices, nearest.values, torch.stack(closeness))
