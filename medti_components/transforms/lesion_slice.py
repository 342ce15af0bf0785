# SPDX-License-Identifier: Apache-2.0
"""Picking the axial slice that stands for a study."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, SpatialCrop

from medti_components.errors import DataError


def slice_of_largest_area(mask: torch.Tensor) -> int:
    """Return the index of the slice with most voxels above zero, whatever their value; the lowest of equals.

    Args:
        mask: (D, H, W), zero outside, any positive value inside.

    >>> mask = torch.zeros(3, 4, 4)
    >>> mask[1, :2, :2], mask[2, 0, :3] = 3, 5
    >>> slice_of_largest_area(mask)
    1
    """
    return int((mask > 0).sum(dim=(1, 2)).argmax())


def median_slice(mask: torch.Tensor) -> int:
    """Return the middle one of the slices that hold voxels above zero; the lower of two middle ones.

    Args:
        mask: (D, H, W), zero outside, at least one voxel above zero.

    >>> mask = torch.zeros(9, 4, 4)
    >>> mask[2:8] = 1  # slices 2 to 7; 4 and 5 are in the middle
    >>> median_slice(mask)
    4
    """
    held = (mask > 0).flatten(1).any(dim=1).nonzero().flatten()
    return int(held[(len(held) - 1) // 2])


class LesionSliced(MapTransform):
    """Reduce volumes (C, D, H, W) to the slice (C, 1, H, W) that stands for the study; the affine follows.

    Label 1: the slice with the largest lesion area, label 0: the median slice of the gland (Medical diffusion on a
    budget, MIDL 2024). So ``mask_key`` holds the lesion mask where the label is 1, the gland mask where it is 0, on
    the grid of the volumes.

    Raises:
        DataError: no voxel of the mask lies within the volume; the message names the study.

    Example:
        >>> mask = torch.zeros(1, 4, 8, 8)
        >>> mask[0, 3, 2:4, 2:4] = 2  # the grade
        >>> study = {"t2w": torch.arange(4.0).reshape(1, 4, 1, 1).expand(1, 4, 8, 8), "mask": mask, "label": 1}
        >>> sliced = LesionSliced(keys="t2w")(study)["t2w"]
        >>> tuple(sliced.shape), float(sliced.max())
        ((1, 1, 8, 8), 3.0)
    """

    def __init__(self, keys: KeysCollection, mask_key: str = "mask", label_key: str = "label") -> None:
        super().__init__(keys)
        self.mask_key = mask_key
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sliced = dict(data)
        mask = torch.as_tensor(data[self.mask_key])[0]
        is_positive = bool(data[self.label_key])
        if not bool((mask > 0).any()):
            kind = "lesion" if is_positive else "gland"
            raise DataError(
                f"study '{data.get('study_id', 'unknown')}' has no {kind} within the crop: "
                "check its mask, or leave such studies out by --skip_unreadable true"
            )
        index = slice_of_largest_area(mask) if is_positive else median_slice(mask)
        crop = SpatialCrop(roi_start=(index, 0, 0), roi_end=(index + 1, *mask.shape[1:]))
        for key in self.key_iterator(sliced):
            sliced[key] = crop(sliced[key])
        return sliced
