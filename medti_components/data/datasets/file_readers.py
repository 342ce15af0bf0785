# SPDX-License-Identifier: Apache-2.0
"""Reading the files of data sets, with errors that name them: volumes and grey pictures.

MONAI's ``LoadImage`` turns whatever a reader's ``read`` raises into a page of text about missing readers, but lets
errors of ``get_data`` through. So ``read`` only takes note of the path, and the file is opened in ``get_data``.
"""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.config import PathLike
from monai.data.image_reader import ImageReader, PILReader
from monai.data.utils import orientation_ras_lps
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple
from PIL import Image

from medti_components.errors import DataError
from medti_components.transforms.seen_picture import as_seen

if TYPE_CHECKING:
    import SimpleITK

_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B")


VOLUME_SUFFIXES = (".mha", ".mhd", ".nii.gz", ".nii", ".nrrd")
_KINDS = {  # by the first bytes, from an offset
    "a DICOM file": (128, b"DICM"),
    "a gzip archive": (0, b"\x1f\x8b"),
    "a zip archive": (0, b"PK\x03\x04"),
    "a Git LFS pointer": (0, b"version https://git-lfs"),
    "a web page": (0, b"<"),
}


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
        import SimpleITK  # here, since pictures need none of its 50 MB

        volume = read_volume(img)
        array = SimpleITK.GetArrayFromImage(volume).T
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            number = array.size - int(np.isfinite(array).sum())
            raise _unfit(img, f"hold finite values alone, {number} of its {array.size} are not", "correct them")
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


def read_volume(path: str | Path) -> "SimpleITK.Image":
    """Read a 3D volume of one channel.

    Raises:
        DataError: the file is missing, unreadable, truncated or not 3D; the message names it.
    """
    import SimpleITK

    if not Path(path).is_file():
        raise DataError(f"'{path}' does not exist: download it, or leave such studies out by --skip_unreadable true")
    try:
        if Path(path).suffix == ".gz":
            _check_gzip(path)  # for SimpleITK reads a truncated one without a word
        volume = SimpleITK.ReadImage(str(path))
    except (EOFError, OSError, zlib.error) as error:
        raise _unreadable(path, str(error)) from error
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise _unfit(path, "have axes at right angles, its affine is sheared", "resample it") from error
        raise _unreadable(path, "SimpleITK can't read it") from error
    if file_kind(path) == "a DICOM file":
        raise _unfit(path, "be a whole volume, got a DICOM file of one slice", "convert its series to .mha or .nii.gz")
    if volume.GetDimension() != 3 or volume.GetNumberOfComponentsPerPixel() != 1:
        shape = (*volume.GetSize(), volume.GetNumberOfComponentsPerPixel())
        remedy = "save one of its volumes alone" if volume.GetDimension() == 4 else "convert it"
        raise _unfit(path, f"be a 3D volume of one channel, got (x, y, ..., channels) = {shape}", remedy)
    return volume


def file_kind(path: str | Path) -> str | None:
    """Return what a file is that is no volume and no picture, as far as its first bytes tell.

    Raises:
        OSError: it can't be read.
    """
    with open(path, "rb") as file:
        start = file.read(200)
    if not start:
        return "an empty file"
    return next((kind for kind, (offset, mark) in _KINDS.items() if start[offset:].startswith(mark)), None)


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
                    remedy = "save it with 8 bits"
                    raise _unfit(img, f"have 8 bits a channel, got mode '{picture.mode}'", remedy, "images")
                array, metadata = super().get_data(as_seen(picture).convert("L"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            if file_kind(img) == "a DICOM file":
                raise _unfit(img, "be a PNG or JPG, got a DICOM file", "convert it", "images") from error
            raise _unreadable(img, " ".join(str(error).split()), "images") from error
        if array.min() == array.max():
            raise DataError(
                f"'{img}' must show something, all its pixels are {array.min():g}: replace it, or leave such images "
                "out by --skip_unreadable true"
            )
        return array, metadata


def _unfit(path: str | Path, what: str, remedy: str, cases: str = "studies") -> DataError:
    """Return the error of a file that is whole, but must be or have something else."""
    return DataError(f"'{path}' must {what}: {remedy}, or leave such {cases} out by --skip_unreadable true")


def _unreadable(path: str | Path, reason: str, cases: str = "studies") -> DataError:
    kind = file_kind(path)
    if kind and not (kind == "a gzip archive" and Path(path).suffix == ".gz"):
        reason = f"it is {kind}"
    remedy = f"download it again, or leave such {cases} out by --skip_unreadable true"
    return DataError(f"'{path}' is unreadable or truncated ({reason}): {remedy}")
