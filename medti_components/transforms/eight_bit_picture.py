# SPDX-License-Identifier: Apache-2.0
"""Reading a picture whose pixels are taken as they are: grey or in colour, with 8 bits a channel."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from medti_components.errors import DataError

MODES = ("RGB", "RGBA", "L", "LA", "P")


def eight_bit_picture(path: Path, remedy: str) -> Image.Image:
    """Read a picture as RGB; grey fills all channels, transparency is left out.

    Pillow would cut deeper ones off at 255, so that they are refused.

    Args:
        path: the file.
        remedy: what to do about a file that can't be read, for the message.

    Raises:
        DataError: it is missing, unreadable, or of other than 8 bits a channel.
    """
    try:
        with Image.open(path) as opened:
            mode = opened.mode
            picture = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"'{path}' is missing or not a readable image: {remedy}") from error
    if mode not in MODES:
        raise DataError(f"'{path}' must be grey or RGB with 8 bits a channel, got mode '{mode}': save it as 8-bit PNG")
    return picture


def scaled_picture(picture: Image.Image, image_size: int, path: Path) -> Tensor:
    """Return an RGB picture as uint8 (3, image_size, image_size), a larger one scaled down by averaging areas.

    Raises:
        DataError: it is too small or not square; ``path`` is where it comes from.

    >>> scaled_picture(Image.new("RGB", (4, 4), (0, 128, 255)), 2, Path("a.png"))[:, 0, 0]
    tensor([  0, 128, 255], dtype=torch.uint8)
    """
    if min(picture.size) < image_size or picture.size[0] != picture.size[1]:
        is_square = picture.size[0] == picture.size[1]
        raise DataError(
            f"'{path}' must be square and at least {image_size} pixels wide, got {size_in_pixels(picture.size)}: "
            + (f"set --image_size {picture.size[0]} or less" if is_square else "crop it to a square")
        )
    if picture.size[0] > image_size:
        picture = picture.resize((image_size, image_size), Image.Resampling.BOX)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def from_pixels(pixels: Tensor) -> Tensor:
    """Return pixels, 0 to 255, as values in [-1, 1].

    >>> from_pixels(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    return pixels.to(torch.float32) / 127.5 - 1


def size_in_pixels(size: tuple[int, int]) -> str:
    """Return a picture's width and height as text.

    >>> size_in_pixels((64, 48))
    '64x48 pixels'
    """
    return f"{size[0]}x{size[1]} pixels"
