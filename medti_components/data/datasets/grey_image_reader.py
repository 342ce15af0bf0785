# SPDX-License-Identifier: Apache-2.0
"""Reading pictures of one channel for MONAI, with errors that name the file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data.image_reader import PILReader
from monai.utils import ensure_tuple
from PIL import Image

from medti_components.errors import DataError

_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B")


class GreyImageReader(PILReader):
    """Read one PNG or JPG as grey (rows, columns), 0 to 255; colour becomes luminance, transparency is dropped.

    ``LoadImage`` turns whatever ``read`` raises into a page of text about missing readers, but lets errors of
    ``get_data`` through. So ``read`` only takes note of the path, and the file is opened in ``get_data``.

    Example:
        >>> from monai.transforms import LoadImaged
        >>> load = LoadImaged(keys="image", reader=GreyImageReader(), ensure_channel_first=True)
    """

    def __init__(self) -> None:
        super().__init__(reverse_indexing=False)

    def read(self, data: Sequence[PathLike] | PathLike | np.ndarray, **kwargs: Any) -> Path:
        """Take note of the path of one file."""
        return Path(ensure_tuple(data)[0])

    def get_data(self, img: Path) -> tuple[np.ndarray, dict]:
        """Read the file: array (rows, columns) of uint8, and PIL's metadata.

        Raises:
            DataError: the file is missing, unreadable, truncated, or holds more than 8 bits a channel.
        """
        if not Path(img).is_file():
            raise DataError(f"'{img}' does not exist: download it, or leave such images out by --skip_unreadable true")
        try:
            with Image.open(img) as picture:
                if picture.mode in _SIXTEEN_BIT_MODES or picture.mode == "F":
                    raise _unreadable(img, f"it must have 8 bits a channel, got mode '{picture.mode}'")
                return super().get_data(picture.convert("L"))
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise _unreadable(img, " ".join(str(error).split())) from error


def _unreadable(path: Path, reason: str) -> DataError:
    remedy = "download it again, or leave such images out by --skip_unreadable true"
    return DataError(f"'{path}' is unreadable or truncated ({reason}): {remedy}")
