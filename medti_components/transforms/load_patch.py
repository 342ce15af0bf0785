# SPDX-License-Identifier: Apache-2.0
"""Reading single patches out of Patch Camelyon's files."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from medti_components.data.patch_camelyon_files import open_patches


class LoadPatchd(MapTransform):
    """Replace the path of a file of patches by one of them, float32 (3, 96, 96), 0 to 255; no other is read.

    Args:
        keys: paths of ``..._x.h5`` files.
        row_key: entry with the patch's row.

    Raises:
        DataError: the file is missing, unreadable or of another layout.

    Example:
        >>> load = LoadPatchd(keys="image")
    """

    def __init__(self, keys: KeysCollection, row_key: str = "row") -> None:
        super().__init__(keys)
        self.row_key = row_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            with open_patches(Path(data[key])) as patches:
                pixels = patches[int(data[self.row_key])]
            loaded[key] = torch.from_numpy(pixels).permute(2, 0, 1).to(torch.float32)
        return loaded
