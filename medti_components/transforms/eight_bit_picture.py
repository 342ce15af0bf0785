# SPDX-License-Identifier: Apache-2.0
"""Pictures whose pixels are taken as they are: reading, scaling, and the way from values to pixels and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from medti_components.errors import DataError
from medti_components.transforms.seen_picture import as_seen, profile_name, without_palette

MODES = ("RGB", "RGBA", "L", "LA", "P")
USUAL_BITS = (8, 10, 12, 14, 16)
PIXEL_TYPES = {"L": np.uint8, "RGB": np.uint8, "I;16": np.uint16}


def eight_bit_picture(path: Path, remedy: str) -> Image.Image:
    """Read a picture as RGB, as it is meant to be seen; grey fills all channels, transparency is left out.

    Pillow would cut deeper ones off at 255, so that they are refused.

    Args:
        path: the file.
        remedy: what to do about a file that can't be read, for the message.

    Raises:
        DataError: it is missing, unreadable, or of other than 8 bits per channel.
    """
    try:
        with Image.open(path) as opened:
            mode = opened.mode
            picture = as_seen(opened).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"'{path}' is missing or not a readable image: {remedy}") from error
    if mode not in MODES:
        raise DataError(f"'{path}' must be grey or RGB with 8 bits a channel, got mode '{mode}': save it as 8-bit PNG")
    return picture


def scaled_picture(picture: Image.Image, image_size: int, path: Path, size_key: str = "image_size") -> Tensor:
    """Return an RGB picture as uint8 (3, image_size, image_size), a larger one scaled down by averaging areas.

    ``path`` and ``size_key``, the config key that the size comes from, are for messages.

    Raises:
        DataError: it is too small or not square.

    >>> scaled_picture(Image.new("RGB", (4, 4), (0, 128, 255)), 2, Path("a.png"))[:, 0, 0]
    tensor([  0, 128, 255], dtype=torch.uint8)
    """
    if min(picture.size) < image_size or picture.size[0] != picture.size[1]:
        is_square = picture.size[0] == picture.size[1]
        raise DataError(
            f"'{path}' must be square and at least {image_size} pixels wide, got {size_in_pixels(picture.size)}: "
            + (f"set --{size_key} {picture.size[0]} or less" if is_square else "crop it to a square")
        )
    if picture.size[0] > image_size:
        picture = picture.resize((image_size, image_size), Image.Resampling.BOX)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def read_picture(path: str | Path) -> np.ndarray:
    """Read the pixels of a picture to paint into, turned as its EXIF says: 8-bit grey or RGB, or 16-bit grey.

    Raises:
        DataError: the file is missing, unreadable, of another kind, or in other colours than sRGB: these would have to
            be changed outside the mask too.
    """
    try:
        with Image.open(path) as opened:
            profile = profile_name(opened)
            picture = without_palette(ImageOps.exif_transpose(opened))
            mode = picture.mode
            pixels = np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        missing = "does not exist" if not Path(path).is_file() else "is not a readable picture"
        raise DataError(f"image '{path}' {missing}: set --image to a PNG") from error
    if mode not in PIXEL_TYPES:
        raise DataError(f"image '{path}' must be 8-bit grey or RGB or 16-bit grey, got mode '{mode}': convert it")
    if profile:
        raise DataError(f"image '{path}' must be in sRGB, got the colour profile '{profile}': convert it")
    return pixels.astype(PIXEL_TYPES[mode])


def highest_value(pixels: np.ndarray) -> int:
    """Return the highest value that the bits in use can hold: 16-bit files often hold the 10, 12 or 14 of a scanner.

    >>> highest_value(np.array([0, 9], np.uint8)), highest_value(np.array([0, 3000], np.uint16))
    (255, 4095)
    """
    brightest = int(pixels.max())
    return next(2**bits - 1 for bits in USUAL_BITS if brightest < 2**bits)


def eight_bits(pixels: np.ndarray, highest: float) -> np.ndarray:
    """Return pixels from 0 to ``highest`` as uint8.

    >>> eight_bits(np.array([0, 128 * 257, 65535], dtype=np.uint16), 65535).tolist()
    [0, 128, 255]
    """
    return pixels if pixels.dtype == np.uint8 else np.rint(pixels / highest * 255).astype(np.uint8)


def from_pixels(pixels: Tensor) -> Tensor:
    """Return pixels, 0 to 255, as values in [-1, 1].

    >>> from_pixels(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    return pixels.to(torch.float32) / 127.5 - 1


def to_pixels(image: Tensor) -> np.ndarray:
    """Turn an image (3, H, W) in [-1, 1] into the nearest pixels (H, W, 3), uint8; what lies outside is cut off.

    >>> to_pixels(torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1)).tolist()
    [[[0, 128, 255]]]
    """
    scaled = ((image.float() + 1.0) * 127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def png_text(facts: Mapping[str, Any]) -> PngInfo:
    """Return text chunks of a PNG, one per fact."""
    chunks = PngInfo()
    for key, value in facts.items():
        chunks.add_itxt(key, value if isinstance(value, str) else str(value))
    return chunks


def size_in_pixels(size: tuple[int, int]) -> str:
    """Return a picture's width and height as text.

    >>> size_in_pixels((64, 48))
    '64x48 pixels'
    """
    return f"{size[0]}x{size[1]} pixels"
