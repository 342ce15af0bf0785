# SPDX-License-Identifier: Apache-2.0
"""Reading pictures whose three channels are an image, as generating runs write them."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform
from PIL import Image

from medti_components.data.generated_folder import from_pixels, scaled_picture
from medti_components.errors import DataError

EIGHT_BIT_MODES = ("RGB", "RGBA", "L", "LA", "P")


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
            try:
                with Image.open(path) as opened:
                    mode = opened.mode
                    picture = opened.convert("RGB")
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                raise DataError(
                    f"'{path}' is missing or not a readable image: correct it, or leave such images out by "
                    "--skip_unreadable true"
                ) from error
            if mode not in EIGHT_BIT_MODES:
                raise DataError(f"'{path}' must have 8 bits a channel, got mode '{mode}': save it as 8-bit PNG")
            loaded[key] = from_pixels(scaled_picture(picture, self.size, path))
        return loaded
