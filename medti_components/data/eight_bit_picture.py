# SPDX-License-Identifier: Apache-2.0
"""Reading a picture whose pixels are taken as they are: grey or in colour, with 8 bits a channel."""

from pathlib import Path

from PIL import Image

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
