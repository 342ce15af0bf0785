# SPDX-License-Identifier: Apache-2.0
"""MRI volumes of which one axial slice is painted into, read as training reads them and written back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
import torch
from torch import Tensor

from medti_components.data.datasets.file_readers import VOLUME_SUFFIXES, read_volume
from medti_components.data.requests.inpainting_mask import is_in_mm, is_shape, read_mask, shape_mask
from medti_components.errors import ConfigError, DataError
from medti_components.transforms.gaussian_blur import gaussian_blur
from medti_components.transforms.lesion_slice import median_slice, slice_of_largest_area
from medti_components.transforms.resample_sequences import check_share, inside

SPACING_MM = 0.5


class SequenceVolumes:
    """The volumes of a study, with a square of one axial slice as an image of 0.5 mm pixels.

    The pixels are those of the training's ``preprocessing``; each sequence is scaled by its extremes over the whole
    volume. Rows run from anterior to posterior, columns from the patient's right to left, slices from the lowest up,
    however the files are stored.

    Across slices the image differs from training where these are not 3 mm apart. Training then looks between two
    slices and mixes them: at 3.6 mm that makes up to 0.21 of the range of 2. Here the image is the one slice that is
    painted into, since what is seen of a neighbour would be written into it.

    Args:
        paths: one volume a sequence; or the first sequence's alone, named ``..._<sequence>.mha``, the others beside it.
        sequences: names, one or three; a single one fills all three channels.
        field_of_view_mm: edge of the square.

    Raises:
        ConfigError: there are neither three sequences nor one, or not as many volumes.
        DataError: a volume is missing, unreadable or of one value.
    """

    image: Tensor
    slice_index: int

    def __init__(self, paths: Sequence[str | Path], sequences: Sequence[str], field_of_view_mm: float) -> None:
        self.sequences = list(sequences)
        if len(self.sequences) not in (1, 3):
            raise ConfigError(f"sequences must name one or three sequences, got {self.sequences}")
        self.paths = _sequence_paths([Path(path) for path in paths], self.sequences)
        self.field_of_view_mm = field_of_view_mm
        self.originals = [_finite_volume(path) for path in self.paths]
        self.volumes = [SimpleITK.DICOMOrient(volume, "LPS") for volume in self.originals]
        self.ranges = [_extremes(volume, path) for volume, path in zip(self.volumes, self.paths, strict=True)]

    def select(self, mask: str, slice_index: int | None = None, gland: str | Path | None = None) -> Tensor:
        """Choose the slice and read the mask on it; ``image`` is then there.

        The slice is ``slice_index``; else that in which a mask volume has the largest area; else the median one of the
        gland (both as in training).

        Args:
            mask: shape, picture of the first sequence's slice, or volume in the same space.
            slice_index: counted from the lowest slice, 0 first.
            gland: mask volume of the whole gland.

        Returns:
            bool (n, n) on the pixels of ``image``.

        Raises:
            ConfigError, DataError: the slice can't be told, or it or the mask is outside.
        """
        first = self.volumes[0]
        mask_volume = self._mask_volume("mask", mask) if mask.lower().endswith(VOLUME_SUFFIXES) else None
        self.slice_index = self._chosen_slice(mask_volume, slice_index, gland)
        self.plane = _plane(first, self.slice_index, self.field_of_view_mm)
        self.nearest = [self._nearest_slice(*each) for each in zip(self.volumes, self.sequences, strict=True)]
        size = (self.plane.GetHeight(), self.plane.GetWidth())
        channels = [self._channel(*each) for each in zip(self.volumes, self.sequences, self.ranges, strict=True)]
        self.image = torch.stack(channels * (3 // len(channels)))
        if is_shape(mask) and is_in_mm(mask):
            return shape_mask(mask, size, (SPACING_MM, SPACING_MM))
        drawn = _slice_of(first, self.slice_index)
        if mask_volume is not None:
            array = mask_volume[self.slice_index : self.slice_index + 1] > 0
        else:
            array = read_mask(mask, (first.GetHeight(), first.GetWidth())).numpy()[None]
        painted = SimpleITK.GetImageFromArray(array.astype(np.uint8))
        painted.CopyInformation(drawn)
        resampled = SimpleITK.Resample(painted, self.plane, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0)
        on_plane = torch.from_numpy(SimpleITK.GetArrayFromImage(resampled)[0] > 0)
        if not bool(on_plane.any()):
            raise DataError(
                f"mask '{mask}' must have a pixel in slice {self.slice_index} within the central "
                f"{self.field_of_view_mm:g} mm, got none: move it, or choose another --slice_index"
            )
        return on_plane

    def pixels(self) -> np.ndarray:
        """Return ``image`` as a picture, uint8 (n, n, 3)."""
        return ((self.image.double().numpy() + 1.0) * 127.5).round().astype(np.uint8).transpose(1, 2, 0)

    def pasted(self, painted: Tensor, weight: Tensor) -> dict[str, SimpleITK.Image]:
        """Return the volumes, by sequence, with ``weight * painted + (1 - weight) * own`` in the slice.

        In each sequence the slice nearest to that of the first changes, and of it only voxels whose weight is above 0;
        geometry, voxel type and every other voxel are the file's, bit for bit.

        Args:
            painted: (3, n, n) in [-1, 1], on the pixels of ``image``.
            weight: (n, n) in [0, 1].
        """
        values = (painted.float().cpu() + 1.0) / 2.0
        values = values.mean(dim=0, keepdim=True) if len(self.sequences) == 1 else values
        written = {}
        for sequence, original, (volume, (lowest, highest)), index, channel in zip(
            self.sequences, self.originals, self._scaled(), self.nearest, values, strict=True
        ):
            target = _slice_of(volume, index)
            coarseness = max(target.GetSpacing()[:2]) / SPACING_MM
            smooth = gaussian_blur(channel[None], coarseness / 2.0 if coarseness > 1.0 else 0.0)[0]
            share = self._on_slice(weight.float().cpu(), target)
            new = self._on_slice(smooth, target) * (highest - lowest) + lowest
            array = SimpleITK.GetArrayFromImage(volume)
            mixed = share * new + (1.0 - share) * array[index]
            mixed = np.rint(mixed) if array.dtype.kind in "iu" else mixed
            array[index] = np.where(share > 0, mixed.astype(array.dtype), array[index])
            written[sequence] = _like(original, volume, array)
        return written

    def mask_volume(self, mask: Tensor) -> SimpleITK.Image:
        """Return a mask (n, n) of the pixels of ``image`` as a volume on the first sequence's grid, uint8 0 and 1."""
        first = self.volumes[0]
        plane = self._as_plane(mask.to(torch.uint8))
        target = _slice_of(first, self.slice_index)
        drawn = SimpleITK.Resample(plane, target, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0)
        array = np.zeros(first.GetSize()[::-1], np.uint8)
        array[self.slice_index] = SimpleITK.GetArrayFromImage(drawn)[0]
        return _like(self.originals[0], first, array)

    def _scaled(self) -> list[tuple[SimpleITK.Image, tuple[float, float]]]:
        return list(zip(self.volumes, self.ranges, strict=True))

    def _channel(self, volume: SimpleITK.Image, sequence: str, extremes: tuple[float, float]) -> Tensor:
        """Return a sequence on the plane, (n, n) in [-1, 1]; what the volume does not reach counts as its lowest."""
        lowest, highest = extremes
        grid = (_affine(self.plane), self.plane.GetSize())
        own, reached = (inside(*grid, _affine(each), each.GetSize()) for each in (self.volumes[0], volume))
        check_share(f"image '{self.paths[0]}'", sequence, (own & reached).sum() / own.sum())
        sampled = SimpleITK.Resample(
            SimpleITK.Cast(volume, SimpleITK.sitkFloat32),
            self.plane,
            SimpleITK.Transform(),
            SimpleITK.sitkLinear,
            lowest,
        )
        values = torch.from_numpy(SimpleITK.GetArrayFromImage(sampled)[0])
        if bool((values == values[0, 0]).all()):
            raise DataError(
                f"sequence '{sequence}' must show something in slice {self.slice_index} of '{self.paths[0].name}', it "
                "has one value alone: choose another --slice_index"
            )
        return ((values - lowest) / (highest - lowest) * 2.0 - 1.0).clamp(-1.0, 1.0)

    def _mask_volume(self, key: str, path: str | Path) -> np.ndarray:
        """Read a mask on the first sequence's grid: as in training, its physical coordinates decide."""
        first = self.volumes[0]
        volume = SimpleITK.Resample(read_volume(path), first, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0)
        array = SimpleITK.GetArrayFromImage(volume)
        if not (array > 0).any():
            raise DataError(
                f"{key} '{path}' must have a voxel above zero where '{self.paths[0].name}' is, got none: choose "
                "another, or correct its origin, spacing and direction"
            )
        return array

    def _chosen_slice(self, mask: np.ndarray | None, slice_index: int | None, gland: str | Path | None) -> int:
        count = self.volumes[0].GetDepth()
        if slice_index is not None:
            if isinstance(slice_index, bool) or not isinstance(slice_index, int) or not 0 <= slice_index < count:
                raise ConfigError(
                    f"slice_index must be between 0 and {count - 1} in '{self.paths[0]}', got {slice_index!r}: "
                    "correct --slice_index"
                )
            return slice_index
        if mask is not None:
            return slice_of_largest_area(torch.from_numpy(mask > 0))
        if gland is not None:
            return median_slice(torch.from_numpy(self._mask_volume("gland", gland) > 0))
        raise ConfigError(
            f"slice_index must be given for the volume '{self.paths[0]}': set --slice_index between 0 and {count - 1}, "
            "or --gland to the mask of the gland"
        )

    def _nearest_slice(self, volume: SimpleITK.Image, sequence: str) -> int:
        centre = [(count - 1) / 2 for count in self.plane.GetSize()]
        point = self.plane.TransformContinuousIndexToPhysicalPoint(centre)
        index = round(volume.TransformPhysicalPointToContinuousIndex(point)[2])
        if not 0 <= index < volume.GetDepth():
            raise DataError(
                f"sequence '{sequence}' must reach slice {self.slice_index} of '{self.paths[0].name}', it does not: "
                "choose another --slice_index"
            )
        return index

    def _as_plane(self, values: Tensor) -> SimpleITK.Image:
        """Return (n, n) as a thick slice on the plane, so that a neighbour's slice lies within it."""
        image = SimpleITK.GetImageFromArray(values.numpy()[None])
        image.CopyInformation(self.plane)
        thickest = max(volume.GetSpacing()[2] for volume in self.volumes)
        image.SetSpacing((*self.plane.GetSpacing()[:2], 2.0 * thickest))
        return image

    def _on_slice(self, values: Tensor, target: SimpleITK.Image) -> np.ndarray:
        resampled = SimpleITK.Resample(
            self._as_plane(values), target, SimpleITK.Transform(), SimpleITK.sitkLinear, 0.0, SimpleITK.sitkFloat64
        )
        return SimpleITK.GetArrayFromImage(resampled)[0]


def _sequence_paths(paths: list[Path], sequences: list[str]) -> list[Path]:
    if len(paths) == len(sequences):
        return paths
    if len(paths) == 1:
        name, first = paths[0].name, f"_{sequences[0]}."
        if first in name:
            return [paths[0].with_name(f"_{sequence}.".join(name.rsplit(first, 1))) for sequence in sequences]
    raise ConfigError(
        f"image must be {len(sequences)} volumes, one each of {', '.join(sequences)}, or one whose name ends in "
        f"'_{sequences[0]}.mha' with the others beside it, got {[str(path) for path in paths]}"
    )


def _finite_volume(path: Path) -> SimpleITK.Image:
    if not path.is_file():
        raise DataError(f"image '{path}' does not exist: correct --image")
    volume = read_volume(path)
    if not np.isfinite(SimpleITK.GetArrayViewFromImage(volume)).all():
        raise DataError(f"image '{path}' must hold finite values alone: choose another")
    return volume


def _extremes(volume: SimpleITK.Image, path: Path) -> tuple[float, float]:
    array = SimpleITK.GetArrayViewFromImage(volume)
    lowest, highest = float(array.min()), float(array.max())
    if lowest == highest:
        raise DataError(f"image '{path}' must show something, all its voxels are {lowest:g}: choose another")
    return lowest, highest


def _plane(volume: SimpleITK.Image, slice_index: int, edge_mm: float) -> SimpleITK.Image:
    """Return an empty grid of one slice of 0.5 mm pixels in the middle of a slice of an LPS volume.

    The pixels lie where MONAI's ``Spacing`` and ``ResizeWithPadOrCrop`` put them: the first of the whole slice on the
    first voxel, and as many cut off, or padded, on both sides.
    """
    count = round(edge_mm / SPACING_MM)
    first = [0.0, 0.0, float(slice_index)]  # of the square, in voxels
    for axis in range(2):
        size, spacing = volume.GetSize()[axis], volume.GetSpacing()[axis]
        num_pixels = round((size - 1) * spacing / SPACING_MM + 1)
        start = num_pixels // 2 - count // 2 if num_pixels >= count else -((count - num_pixels) // 2)
        first[axis] = start * SPACING_MM / spacing
    plane = SimpleITK.Image((count, count, 1), SimpleITK.sitkUInt8)
    plane.SetDirection(volume.GetDirection())
    plane.SetSpacing((SPACING_MM, SPACING_MM, volume.GetSpacing()[2]))
    plane.SetOrigin(volume.TransformContinuousIndexToPhysicalPoint(first))
    return plane


def _affine(volume: SimpleITK.Image) -> np.ndarray:
    """Return the matrix from voxels (x, y, z) to mm in LPS, (4, 4)."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(volume.GetDirection(), (3, 3)) * volume.GetSpacing()
    affine[:3, 3] = volume.GetOrigin()
    return affine


def _slice_of(volume: SimpleITK.Image, index: int) -> SimpleITK.Image:
    return volume[:, :, index : index + 1]


def _like(original: SimpleITK.Image, oriented: SimpleITK.Image, array: np.ndarray) -> SimpleITK.Image:
    """Return voxels of the oriented volume as a volume with the original's geometry, order and metadata."""
    image = SimpleITK.GetImageFromArray(array)
    image.CopyInformation(oriented)
    code = SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(original.GetDirection())
    restored: Any = SimpleITK.DICOMOrient(image, code)
    restored.CopyInformation(original)
    for key in original.GetMetaDataKeys():
        restored.SetMetaData(key, original.GetMetaData(key))
    return restored
