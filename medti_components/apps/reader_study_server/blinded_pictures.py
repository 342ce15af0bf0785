# SPDX-License-Identifier: Apache-2.0
"""Pictures of two origins made alike in all but their content, for readers who must not know the origin."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from medti_components.errors import ConfigError, DataError
from medti_components.transforms.resize_image import resize_image

CHANNELS = ("auto", "colour", "grey", "panels")
SHOWN_SHARE = (0.005, 0.995)
"""Quantiles of a picture's values that become black and white where contrast is stretched."""


@dataclass(frozen=True)
class PictureFacts:
    """What could reveal a picture's origin: shorter edge in pixels, shape, depth and colour; and its hash."""

    edge: int
    is_square: bool
    is_deep: bool
    is_grey: bool
    sha256: str


class BlindedPictures:
    """Pictures as PNG without metadata, all of one size, depth and kind of colour.

    Every picture is treated alike: cut to its middle square; made grey where all real or all generated pictures are
    grey; stretched in contrast where any picture has 16 bits; resized to the smallest; saved with 8 bits.

    Args:
        real: files of real pictures.
        synthetic: files of generated ones.
        channels: ``colour``; ``grey`` for luminance; ``panels`` for the three channels side by side, each in grey, as
            images of three sequences are looked at; ``auto`` for colour or grey, as above.
        image_size: edge of all in pixels; 0 for that of the smallest picture.
        show_progress: show a progress bar.

    Raises:
        DataError: a picture is missing, unreadable or too small, or two are the same file.
        ConfigError: ``channels`` is unknown, or panels are asked for where a picture is grey.
    """

    def __init__(
        self,
        real: Sequence[Path],
        synthetic: Sequence[Path],
        channels: str = "auto",
        image_size: int = 0,
        show_progress: bool = False,
    ) -> None:
        if channels not in CHANNELS:
            raise ConfigError(f"channels must be one of {', '.join(CHANNELS)}, got '{channels}'")
        paths = [*real, *synthetic]
        with tqdm(paths, desc="looking at pictures", unit="picture", disable=not show_progress) as bar:
            self.facts = {path: _facts(path) for path in bar}
        self._check_distinct(paths)
        smallest = min(paths, key=lambda path: self.facts[path].edge)
        if image_size > self.facts[smallest].edge:
            raise DataError(
                f"'{smallest}' must be at least {image_size} pixels wide and high, got {self.facts[smallest].edge}: "
                f"set --image_size {self.facts[smallest].edge} or less"
            )
        self.image_size = image_size or self.facts[smallest].edge
        self.channels = channels
        if channels == "auto":
            is_grey = any(all(self.facts[path].is_grey for path in kind) for kind in (real, synthetic))
            self.channels = "grey" if is_grey else "colour"
        if channels == "panels" and (grey := [path for path in paths if self.facts[path].is_grey]):
            raise ConfigError(f"channels panels needs pictures of three channels, '{grey[0]}' is grey: give another")
        self.is_stretched = any(facts.is_deep for facts in self.facts.values())
        self.num_cut = sum(not facts.is_square for facts in self.facts.values())

    def png(self, path: Path) -> bytes:
        """Return a picture as readers see it.

        Raises:
            DataError: its file can't be read any more.
        """
        image, _ = _opened(path.read_bytes() if path.is_file() else b"", path)
        edge = min(image.shape[-2:])
        top, left = ((length - edge) // 2 for length in image.shape[-2:])
        image = image[:, top : top + edge, left : left + edge]
        if self.channels == "grey" and len(image) == 3:
            image = (image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=0, keepdim=True)
        if self.is_stretched:
            low, high = np.quantile(image.numpy(), SHOWN_SHARE)
            image = (image - low) * (255 / max(high - low, 1e-6))
        pixels = resize_image(image.clamp(0, 255), self.image_size).round().to(torch.uint8)
        if self.channels == "panels":
            pixels = torch.cat([*pixels.expand(3, -1, -1)], dim=1)[None]
        elif self.channels == "colour":
            pixels = pixels.expand(3, -1, -1)
        buffer = io.BytesIO()
        array = pixels.permute(1, 2, 0).squeeze(-1).numpy()
        Image.fromarray(array).save(buffer, format="PNG")
        return buffer.getvalue()

    def _check_distinct(self, paths: Sequence[Path]) -> None:
        first: dict[str, Path] = {}
        for path in paths:
            other = first.setdefault(self.facts[path].sha256, path)
            if other is not path:
                raise DataError(f"'{path}' and '{other}' are the same picture: remove one")


def _facts(path: Path) -> PictureFacts:
    content = path.read_bytes() if path.is_file() else b""
    image, is_deep = _opened(content, path)
    height, width = image.shape[-2:]
    return PictureFacts(
        edge=min(height, width),
        is_square=height == width,
        is_deep=is_deep,
        is_grey=bool((image == image[:1]).all()),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _opened(content: bytes, path: Path) -> tuple[Tensor, bool]:
    """Return a picture as float32 (1 or 3, H, W), turned as its EXIF says, and whether it has more than 8 bits."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as opened:
            picture = ImageOps.exif_transpose(opened)
            is_deep = picture.mode.startswith("I")
            array = np.array(picture if is_deep else picture.convert("RGB"), dtype=np.float32)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"'{path}' is missing or not a readable PNG or JPEG: correct or remove it") from error
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy()), is_deep
