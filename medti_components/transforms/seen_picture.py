# SPDX-License-Identifier: Apache-2.0
"""A picture as it is meant to be seen: what its file says about orientation, palette and colour profile is applied."""

import io
from typing import Any

from PIL import Image, ImageCms, ImageOps

_WITH_PALETTE = ("P", "PA")


def as_seen(picture: Image.Image) -> Image.Image:
    """Return a picture turned as its EXIF orientation says, without palette, in sRGB.

    Deeper pictures and those without a colour profile keep their values.

    Args:
        picture: just opened.

    Raises:
        ValueError: the colour profile can't be read.

    >>> lying = Image.new("L", (4, 2))
    >>> lying.getexif()[0x0112] = 6  # turn by 90 degrees
    >>> as_seen(lying).size
    (2, 4)
    """
    profile = _foreign_profile(picture)
    seen = without_palette(ImageOps.exif_transpose(picture))
    if profile is None:
        return seen
    plain = seen if seen.mode in ("L", "RGB", "CMYK") else seen.convert("L" if seen.mode == "LA" else "RGB")
    try:
        converted: Any = ImageCms.profileToProfile(plain, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except ImageCms.PyCMSError as error:
        raise ValueError(f"its colour profile does not fit its mode '{seen.mode}'") from error
    return converted.convert("L") if plain.mode == "L" else converted


def without_palette(picture: Image.Image) -> Image.Image:
    """Return a picture with the colours of its palette, grey where all of them are; others as they are.

    >>> picture = Image.new("P", (1, 1))
    >>> picture.putpalette([10, 20, 30])
    >>> without_palette(picture).getpixel((0, 0))
    (10, 20, 30)
    """
    if picture.mode not in _WITH_PALETTE:
        return picture
    coloured = picture.convert("RGB")
    red, green, blue = coloured.split()
    return red if red.tobytes() == green.tobytes() == blue.tobytes() else coloured


def profile_name(picture: Image.Image) -> str | None:
    """Return the name of a colour profile other than sRGB, None where there is none.

    Raises:
        ValueError: the profile can't be read.
    """
    profile = _foreign_profile(picture)
    return None if profile is None else ImageCms.getProfileDescription(profile).strip()


def _foreign_profile(picture: Image.Image) -> ImageCms.ImageCmsProfile | None:
    content = picture.info.get("icc_profile")
    if not content or picture.mode.startswith(("I", "F")):
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
        name = ImageCms.getProfileDescription(profile)
    except (OSError, ImageCms.PyCMSError) as error:
        raise ValueError("its colour profile can't be read") from error
    return None if "srgb" in name.casefold() else profile
