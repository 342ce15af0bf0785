# SPDX-License-Identifier: Apache-2.0
"""Resampling MRI sequences to the slice of another one, with a check that each of them shows something there."""

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, ResampleToMatchd

from medti_components.errors import DataError

logger = logging.getLogger(__name__)

MIN_SHARE = 0.75
_TOLERANCE = 1e-3  # voxels


class ResampleSequencesd(MapTransform):
    """Resample volumes (1, D, H, W) to the grid of a slice (1, 1, H, W), linearly, by physical coordinates.

    What lies outside a volume becomes zero. A volume that hardly meets the slice, or is of one value in it, would
    become a channel that shows nothing: that is an error.

    Args:
        keys: the volumes.
        key_dst: the slice. Only the part of it that its own volume covers counts.
        sequences: those of the volumes and the slice that are used; the others are not checked. None checks all.
        min_share: share of the slice that a volume must cover.

    Raises:
        DataError: a sequence covers less, or has one value alone; the message names the study and the sequence.

    Example:
        >>> resample = ResampleSequencesd(keys=["adc", "hbv"], key_dst="t2w")
    """

    def __init__(
        self,
        keys: KeysCollection,
        key_dst: str = "t2w",
        sequences: Sequence[str] | None = None,
        min_share: float = MIN_SHARE,
    ) -> None:
        super().__init__(keys)
        self.key_dst = key_dst
        self.resample = ResampleToMatchd(self.keys, key_dst, mode="bilinear", padding_mode="zeros")
        self.checked = list(sequences) if sequences is not None else [*self.keys, key_dst]
        self.min_share = min_share

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        drawn = data[self.key_dst]
        grid = (np.asarray(drawn.affine), tuple(drawn.shape[1:]))
        own = inside(*grid, np.asarray(drawn.meta["original_affine"]), drawn.meta["spatial_shape"])
        name = "_".join(str(data[key]) for key in ("patient_id", "study_id") if key in data)
        covered: dict[Hashable, np.ndarray] = {self.key_dst: own}
        for key in [key for key in self.keys if key in self.checked]:
            volume = data[key]
            covered[key] = own & inside(*grid, np.asarray(volume.affine), volume.shape[1:])
            check_share(f"study '{name}'", str(key), covered[key].sum() / own.sum(), self.min_share)
        resampled: dict[Hashable, Any] = self.resample(data)
        for key in [key for key in covered if key in self.checked]:
            values = torch.as_tensor(resampled[key])[0][torch.from_numpy(covered[key])]
            if bool((values == values[0]).all()):
                raise DataError(
                    f"study '{name}': {str(key).upper()} has one value alone in the slice that is shown: correct the "
                    "volume, or leave such studies out by --skip_unreadable true"
                )
        return resampled


def check_share(study: str, sequence: str, share: float, min_share: float = MIN_SHARE) -> None:
    """Check that a sequence covers enough of a slice.

    Raises:
        DataError: it does not.

    >>> check_share("study '1_2'", "adc", 0.25)
    Traceback (most recent call last):
    ...
    medti_components.errors.DataError: study '1_2': ADC covers 25 % of the slice that is shown, must cover 75 %: correct
    its origin, spacing and direction, lower --field_of_view_mm, or leave such studies out by --skip_unreadable true
    """
    if share == 1:
        return
    covers = f"{study}: {sequence.upper()} covers {100 * share:.0f} % of the slice that is shown"
    logger.info("%s", covers)
    if share < min_share:
        raise DataError(
            f"{covers}, must cover {100 * min_share:.0f} %: correct its origin, spacing and direction, lower "
            "--field_of_view_mm, or leave such studies out by --skip_unreadable true"
        )


def inside(grid_affine: np.ndarray, grid_shape: Sequence[int], affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Tell which voxels of a grid have their centres within the voxels of a volume.

    Args:
        grid_affine: of the grid, voxel to mm, (4, 4).
        grid_shape: of the grid.
        affine: of the volume, in the same space.
        shape: of the volume.

    Returns:
        bool, of ``grid_shape``.

    >>> moved = np.eye(4)
    >>> moved[0, 3] = 2.0
    >>> inside(np.eye(4), (4, 1, 1), moved, (4, 1, 1)).ravel()
    array([False, False,  True,  True])
    """
    to_voxels = np.linalg.inv(affine) @ grid_affine
    indices = np.stack([*np.indices(tuple(grid_shape)), np.ones(tuple(grid_shape))]).reshape(4, -1)
    voxels = (to_voxels @ indices)[:3]
    ends = np.asarray(shape, dtype=float)[:3, None] - 0.5
    is_inside = ((voxels >= -0.5 - _TOLERANCE) & (voxels <= ends + _TOLERANCE)).all(axis=0)
    return is_inside.reshape(tuple(grid_shape))
