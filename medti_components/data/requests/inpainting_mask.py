# SPDX-License-Identifier: Apache-2.0
"""Where to paint: a mask from a picture, or an ellipse or a box in pixels, millimetres or per cent."""

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from medti_components.errors import ConfigError, DataError

FORMS = {"ellipse": "ellipse(cx,cy,rx,ry)", "box": "box(x0,y0,x1,y1)"}
_SHAPE = re.compile(r"\s*(ellipse|box)\b\s*(.*)", re.IGNORECASE | re.DOTALL)
_ARGUMENTS = re.compile(r"\(([^()]*)\)\s*(mm|px|%)?\s*", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")


def is_shape(mask: str) -> bool:
    """Tell whether a mask is written as a shape rather than the path of a file.

    >>> is_shape("ellipse(32,20,8,5)"), is_shape("masks/ellipse.png"), is_shape("ellipse.png")
    (True, False, False)
    """
    return bool(_SHAPE.fullmatch(mask)) and "(" in mask


def is_in_mm(mask: str) -> bool:
    """Tell whether a shape is given in millimetres.

    >>> is_in_mm("ellipse(75,80,8,8) mm"), is_in_mm("box(0,0,4,4)")
    (True, False)
    """
    return is_shape(mask) and mask.rstrip().lower().endswith("mm")


def is_in_percent(mask: str) -> bool:
    """Tell whether a shape is given in per cent of the image's width and height.

    >>> is_in_percent("ellipse(50,50,10,10) %"), is_in_percent("box(0,0,4,4)")
    (True, False)
    """
    return is_shape(mask) and mask.rstrip().endswith("%")


def shape_mask(mask: str, size: tuple[int, int], spacing_mm: tuple[float, float] | None = None) -> Tensor:
    """Draw a shape: the pixels whose centres lie in it.

    Coordinates run from the image's upper left corner, x to the right, y down; the centre of the first pixel is at
    (0.5, 0.5) pixels, so that ``box(0,0,2,1)`` holds two pixels. What reaches beyond the image is cut off.

    Args:
        mask: ``ellipse(cx,cy,rx,ry)`` or ``box(x0,y0,x1,y1)`` in pixels, or followed by ``mm``, or by ``%`` of the
            image's width (x) and height (y).
        size: of the image, (rows, columns).
        spacing_mm: (y, x) of its pixels, None where it is unknown.

    Returns:
        bool (rows, columns).

    Raises:
        ConfigError: the text is malformed, or the shape holds no pixel of the image.

    >>> shape_mask("box(0,0,2,1)", (3, 3)).int().tolist()
    [[1, 1, 0], [0, 0, 0], [0, 0, 0]]
    >>> shape_mask("box(0,0,100,40) %", (3, 3)).int().tolist()
    [[1, 1, 1], [0, 0, 0], [0, 0, 0]]
    >>> int(shape_mask("ellipse(4,4,4,4) mm", (16, 16), (0.5, 0.5)).sum())  # about pi * 8**2
    208
    """
    shape, numbers = _parsed(mask)
    step_y, step_x = (1.0, 1.0)
    if is_in_percent(mask):
        step_y, step_x = (100 / edge for edge in size)
    elif is_in_mm(mask):
        if spacing_mm is None:
            raise ConfigError(f"mask '{mask}' must be in pixels, as the image has no known spacing: leave out 'mm'")
        step_y, step_x = spacing_mm
    y = ((torch.arange(size[0], dtype=torch.float64) + 0.5) * step_y)[:, None]
    x = ((torch.arange(size[1], dtype=torch.float64) + 0.5) * step_x)[None, :]
    if shape == "ellipse":
        cx, cy, rx, ry = numbers
        drawn = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1.0
    else:
        x0, y0, x1, y1 = numbers
        drawn = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    if not bool(drawn.any()):
        unit = "mm" if is_in_mm(mask) else "%" if is_in_percent(mask) else "pixels"
        reach = f"{size[1] * step_x:g} x {size[0] * step_y:g} {unit}"
        raise ConfigError(
            f"mask '{mask}' must hold a pixel of the image of {reach} (x, y), got none: move or enlarge it"
        )
    return drawn


def _parsed(mask: str) -> tuple[str, list[float]]:
    named = _SHAPE.fullmatch(mask)
    if named is None:
        raise ConfigError(f"mask must be {' or '.join(FORMS.values())}, got '{mask}'")
    shape = named[1].lower()
    arguments = _ARGUMENTS.fullmatch(named[2])
    numbers = [] if arguments is None else [number.strip() for number in arguments[1].split(",")]
    if len(numbers) != 4 or not all(_NUMBER.fullmatch(number) for number in numbers):
        raise ConfigError(
            f"mask must be {FORMS[shape]} with four numbers, and 'mm' or '%' behind it or neither, got '{mask}'"
        )
    values = [float(number) for number in numbers]
    if shape == "ellipse" and min(values[2:]) <= 0:
        raise ConfigError(f"mask '{mask}' must have radii above 0: it is {FORMS[shape]}")
    if shape == "box" and not (values[0] < values[2] and values[1] < values[3]):
        raise ConfigError(f"mask '{mask}' must have x0 < x1 and y0 < y1: it is {FORMS[shape]}")
    return shape, values


def picture_mask(path: str | Path, size: tuple[int, int]) -> Tensor:
    """Read a mask from a picture, in which any pixel that is neither zero nor transparent is painted.

    Args:
        path: a PNG, or what else PIL reads.
        size: of the image, (rows, columns); the mask must be of the same.

    Returns:
        bool (rows, columns).

    Raises:
        DataError: the file is missing, unreadable, of another size, or empty.
    """
    try:
        with Image.open(path) as opened:
            turned = ImageOps.exif_transpose(opened)
            has_alpha = opened.mode in ("LA", "PA", "RGBA") or "transparency" in opened.info
            is_coloured = has_alpha or opened.mode not in ("1", "L", "I", "F", "I;16", "I;16B")
            values = np.asarray(turned.convert("RGBA") if is_coloured else turned)
    except (OSError, SyntaxError, ValueError) as error:
        forms = " or ".join(FORMS.values())
        missing = "does not exist" if not Path(path).is_file() else "is not a readable picture"
        raise DataError(f"mask '{path}' {missing}: set --mask to a PNG, or write {forms}") from error
    painted = values[..., :3].any(axis=-1) & (values[..., 3] > 0) if is_coloured else values != 0
    if painted.shape != tuple(size):
        raise DataError(
            f"mask '{path}' must be {size[1]} x {size[0]} pixels like the image, got "
            f"{painted.shape[1]} x {painted.shape[0]}: draw it on the image itself"
        )
    if not painted.any():
        raise DataError(f"mask '{path}' must have a pixel above zero, got none: paint white what is to be filled in")
    return torch.from_numpy(painted)


def read_mask(mask: str | Path, size: tuple[int, int], spacing_mm: tuple[float, float] | None = None) -> Tensor:
    """Return the mask that a shape or a file gives, bool (rows, columns); see :func:`shape_mask`, :func:`picture_mask`.

    Raises:
        ConfigError, DataError: it does not fit.
    """
    text = str(mask)
    known = is_shape(text) or not re.search(r"\(.*\)", text) or Path(text).is_file()
    if not known:
        raise ConfigError(f"mask must be a file, {' or '.join(FORMS.values())}, got '{text}'")
    return shape_mask(text, size, spacing_mm) if is_shape(text) else picture_mask(text, size)
