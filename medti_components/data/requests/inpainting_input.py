# SPDX-License-Identifier: Apache-2.0
"""The image to paint into, with its mask: a picture or MRI volumes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from medti_components.data.datasets.file_readers import VOLUME_SUFFIXES
from medti_components.data.requests.inpainting_mask import read_mask
from medti_components.errors import ConfigError
from medti_components.transforms.eight_bit_picture import highest_value, read_picture

if TYPE_CHECKING:
    from medti_components.data.requests.inpainting_volumes import SequenceVolumes


class InpaintingInput:
    """An image and the mask of what is to be painted.

    Args:
        pixels: of the picture, uint8 (H, W) or (H, W, 3), or uint16 (H, W), of which the bits in use count.
        mask: bool (H, W), true where to paint.
        facts: where both come from, for the provenance.
        volumes: the MRI volumes that the picture is a slice of; None for a picture alone.

    Example:
        >>> source = InpaintingInput(np.full((4, 4), 200, np.uint8), torch.ones(4, 4, dtype=torch.bool), {})
        >>> painted, weight = torch.ones(3, 4, 4), torch.zeros(4, 4)
        >>> weight[0, :2] = torch.tensor([1.0, 0.2])
        >>> source.pasted(painted, weight)[0].tolist()  # 255, 0.2 * 255 + 0.8 * 200, then the input
        [255, 211, 200, 200]
    """

    def __init__(
        self, pixels: np.ndarray, mask: Tensor, facts: dict[str, Any], volumes: "SequenceVolumes | None" = None
    ) -> None:
        self.pixels = pixels
        self.mask = mask
        self.facts = facts
        self.volumes = volumes
        self.highest = float(highest_value(pixels))
        if volumes is not None:
            self.image = volumes.image
        else:
            channels = torch.from_numpy(pixels.astype(np.float32) / self.highest * 2.0 - 1.0)
            self.image = channels.expand(3, -1, -1) if pixels.ndim == 2 else channels.permute(2, 0, 1).contiguous()

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def pasted(self, painted: Tensor, weight: Tensor) -> np.ndarray:
        """Lay a painted image over the picture: ``weight * painted + (1 - weight) * picture``.

        Args:
            painted: (3, H, W) in [-1, 1]; grey pictures take the mean of the channels.
            weight: (H, W) in [0, 1].

        Returns:
            Pixels as those of the picture; where the weight is 0 they are its own, bit for bit.
        """
        values = (painted.double().cpu().numpy() + 1.0) / 2.0 * self.highest
        values = values.mean(axis=0) if self.pixels.ndim == 2 else np.moveaxis(values, 0, -1)
        share = weight.double().cpu().numpy()
        share = share if self.pixels.ndim == 2 else share[..., None]
        mixed = np.clip(np.rint(share * values + (1.0 - share) * self.pixels), 0.0, self.highest)
        return np.where(share > 0, mixed.astype(self.pixels.dtype), self.pixels)


def load_inpainting_input(
    image: Any,
    mask: Any,
    sequences: Sequence[str] | None = None,
    field_of_view_mm: float | None = None,
    slice_index: int | None = None,
    gland: str | Path | None = None,
) -> InpaintingInput:
    """Read the image and the mask of an inpainting run.

    Args:
        image: a picture; or, where the modality has volumes, the path of the first sequence's, whose name ends in
            ``_<sequence>.mha``, the others beside it; or a list of one volume per sequence.
        mask: a shape (see :func:`shape_mask`), a picture of the image's size, or a mask volume: where it lies in space
            decides. Pixels of volumes are those of the first sequence's slice; millimetres run over the field of view.
        sequences: names of the volumes, None where the modality has none.
        field_of_view_mm: edge of the square that a generated image covers; None where it is unknown.
        slice_index: axial slice of the volumes, counted from the lowest, 0 first.
        gland: mask volume of the whole gland, whose median slice is taken where ``slice_index`` is None.

    Raises:
        ConfigError: ``image``, ``mask`` or what belongs to volumes is not given, or is where it should not be.
        DataError: a file is missing, unreadable or does not fit.
    """
    _check_given("image", image, "the picture to paint into")
    _check_given("mask", mask, "a PNG, ellipse(cx,cy,rx,ry) or box(x0,y0,x1,y1)")
    paths = [str(path) for path in image] if isinstance(image, (list, tuple)) else [str(image)]
    has_volumes = any(path.lower().endswith(VOLUME_SUFFIXES) for path in paths)
    if not isinstance(mask, (str, Path)):
        raise ConfigError(f"mask must be a file, ellipse(cx,cy,rx,ry) or box(x0,y0,x1,y1), got {mask!r}")
    if has_volumes:
        if not sequences or field_of_view_mm is None:
            raise ConfigError(f"image must be a picture (PNG), got the volume '{paths[0]}': save the slice as one")
        from medti_components.data.requests.inpainting_volumes import SequenceVolumes  # here: it needs SimpleITK

        volumes = SequenceVolumes(paths, sequences, field_of_view_mm)
        painted = volumes.select(str(mask), slice_index, gland)
        facts = {"mask": str(mask), "slice_index": volumes.slice_index, **_sources("image", volumes.paths)}
        return InpaintingInput(volumes.pixels(), painted, facts, volumes)
    if len(paths) != 1:
        raise ConfigError(f"image must be one picture, or volumes that end in {VOLUME_SUFFIXES[0]}, got {paths}")
    for key, value in (("slice_index", slice_index), ("gland", gland)):
        if value is not None:
            raise ConfigError(f"{key} must be null for a picture, it is for volumes: leave out --{key}")
    pixels = read_picture(paths[0])
    height, width = pixels.shape[:2]
    spacing = None if field_of_view_mm is None else (field_of_view_mm / height, field_of_view_mm / width)
    painted = read_mask(mask, (height, width), spacing)
    depth = {"bits_in_use": highest_value(pixels).bit_length()} if pixels.dtype == np.uint16 else {}
    return InpaintingInput(pixels, painted, {"mask": str(mask), **_sources("image", paths), **depth})


def _check_given(key: str, value: Any, what: str) -> None:
    if value is None or value == "":
        raise ConfigError(f"{key} must be given for inpainting: set --{key} to {what}")
    if not isinstance(value, (str, Path, list, tuple)):
        raise ConfigError(f"{key} must be {what}, got {value!r}: correct --{key}")


def _sources(key: str, paths: Sequence[str | Path]) -> dict[str, Any]:
    names = [str(path) for path in paths]
    hashes = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
    return {key: names[0], f"{key}_sha256": hashes[0]} if len(names) == 1 else {key: names, f"{key}_sha256": hashes}
