# SPDX-License-Identifier: Apache-2.0
"""Reading pictures whose three channels are an image, as generating runs write them."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from medti_components.transforms.eight_bit_picture import eight_bit_picture, from_pixels, scaled_picture


class LoadPictured(MapTransform):
    """Replace the path of a square picture by its image, float32 (3, size, size) in [-1, 1]; grey fills all channels.

    A larger picture is scaled down by averaging areas, a smaller one is refused.

    Args:
        keys: paths of pictures.
        size: height and width of the images, in pixels.

    Raises:
        DataError: a picture is missing, unreadable, of more than 8 bits a channel, not square or too small.

    Example:
        >>> load = LoadPictured(keys="image", size=64)
    """

    def __init__(self, keys: KeysCollection, size: int) -> None:
        super().__init__(keys)
        self.size = size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            path = Path(loaded[key])
            picture = eight_bit_picture(path, "correct it, or leave such images out by --skip_unreadable true")
            loaded[key] = from_pixels(scaled_picture(picture, self.size, path))
        return loaded
