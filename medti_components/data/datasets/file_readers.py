# SPDX-License-Identifier: Apache-2.0
"""Reading the files of data sets, with errors that name them: volumes and grey pictures.

MONAI's ``LoadImage`` turns whatever a reader's ``read`` raises into a page of text about missing readers, but lets
errors of ``get_data`` through. So ``read`` only takes note of the path, and the file is opened in ``get_data``.
"""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from monai.config import PathLike
from monai.data.image_reader import ImageReader, PILReader
from monai.data.utils import orientation_ras_lps
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple
from PIL import Image

from medti_components.errors import DataError
from medti_components.transforms.seen_picture import as_seen

_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B")


class SimpleITKReader(ImageReader):
    """Read one 3D volume (.mha, .nii.gz, ...) with axes (x, y, z) and the affine in RAS, as MONAI's ITKReader does.

    Example:
        >>> from monai.transforms import LoadImaged
        >>> load = LoadImaged(keys="t2w", reader=SimpleITKReader(), ensure_channel_first=True)
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Return True: SimpleITK decides by the file's content."""
        return True

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Path:
        """Take note of the path of one file."""
        return Path(ensure_tuple(data)[0])

    def get_data(self, img: Path) -> tuple[np.ndarray, dict]:
        """Read the file: array (x, y, z) in the file's own units, and metadata with ``affine`` in mm.

        Raises:
            DataError: the file is missing, unreadable, truncated, not 3D, or holds values that are not finite.
        """
        volume = read_volume(img)
        array = SimpleITK.GetArrayFromImage(volume).T
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _unreadable(img, "it holds values that are not finite")
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(volume.GetDirection(), (3, 3)) * volume.GetSpacing()
        affine[:3, 3] = volume.GetOrigin()
        affine = orientation_ras_lps(affine)
        return array, {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.asarray(array.shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
        }


def read_volume(path: str | Path) -> SimpleITK.Image:
    """Read a 3D volume of one channel.

    Raises:
        DataError: the file is missing, unreadable, truncated or not 3D; the message names it.
    """
    if not Path(path).is_file():
        raise DataError(f"'{path}' does not exist: download it, or leave such studies out by --skip_unreadable true")
    try:
        if Path(path).suffix == ".gz":
            _check_gzip(path)  # for SimpleITK reads a truncated one without a word
        volume = SimpleITK.ReadImage(str(path))
    except (EOFError, OSError, zlib.error) as error:
        raise _unreadable(path, str(error)) from error
    except RuntimeError as error:
        raise _unreadable(path, "SimpleITK can't read it") from error
    if volume.GetDimension() != 3 or volume.GetNumberOfComponentsPerPixel() != 1:
        shape = (*volume.GetSize(), volume.GetNumberOfComponentsPerPixel())
        raise _unreadable(path, f"it must be a 3D volume of one channel, got (x, y, ..., channels) = {shape}")
    return volume


def _check_gzip(path: str | Path) -> None:
    """Raise EOFError, OSError or zlib.error where a gzip file is cut off or damaged."""
    with gzip.open(path) as file:
        while file.read(1 << 20):
            pass


class GreyImageReader(PILReader):
    """Read one PNG or JPG as grey (rows, columns), 0 to 255, as it is meant to be seen (orientation, palette, profile).

    Colour becomes luminance, transparency is dropped.

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
            DataError: the file is missing, unreadable, truncated, of one value, or holds more than 8 bits a channel.
        """
        if not Path(img).is_file():
            raise DataError(f"'{img}' does not exist: download it, or leave such images out by --skip_unreadable true")
        try:
            with Image.open(img) as picture:
                if picture.mode in _SIXTEEN_BIT_MODES or picture.mode == "F":
                    raise _unreadable(img, f"it must have 8 bits a channel, got mode '{picture.mode}'", "images")
                array, metadata = super().get_data(as_seen(picture).convert("L"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise _unreadable(img, " ".join(str(error).split()), "images") from error
        if array.min() == array.max():
            raise DataError(
                f"'{img}' must show something, all its pixels are {array.min():g}: replace it, or leave such images "
                "out by --skip_unreadable true"
            )
        return array, metadata


def _unreadable(path: str | Path, reason: str, cases: str = "studies") -> DataError:
    remedy = f"download it again, or leave such {cases} out by --skip_unreadable true"
    return DataError(f"'{path}' is unreadable or truncated ({reason}): {remedy}")
