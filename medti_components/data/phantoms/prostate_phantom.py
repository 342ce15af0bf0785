# SPDX-License-Identifier: Apache-2.0
"""A phantom of the male pelvis as T2W, ADC and high-b volumes, drawn from a seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medti_components.data.phantoms.prostate_anatomy import FAT, LESION, Anatomy, Ellipsoid, Grid, draw_anatomy
from medti_components.data.phantoms.spline_texture import spline_weights
from medti_components.random_streams import stream_seed

NUM_SLICES = 11
SLICE_THICKNESS_MM = 3.0

# Full signal in stored units: arbitrary, 1e-6 mm^2/s, arbitrary.
T2W_UNITS, ADC_UNITS, HBV_UNITS = 900.0, 3000.0, 160.0


@dataclass(frozen=True)
class ProstatePhantom:
    """Volumes (z, y, x) of one study: slices to the head, rows to the back, columns to the patient's left.

    ``t2w`` int16 (11, 384, 384) at 3 x 0.5 x 0.5 mm; ``adc`` (in 1e-6 mm^2/s) and ``hbv`` int16 (11, 128, 84) at
    3 x 2 x 2 mm, their centre moved by ``shift_mm`` (y, x) against that of ``t2w``; ``gland`` (0 or 1) and ``lesion``
    (0, or ISUP grade 2 to 5) uint8 on the grid of ``t2w``.
    """

    t2w: np.ndarray
    adc: np.ndarray
    hbv: np.ndarray
    gland: np.ndarray
    lesion: np.ndarray
    shift_mm: tuple[float, float]
    isup_grade: int


def prostate_phantom(
    seed: int, index: int, is_positive: bool, patient_index: int | None = None, difficulty: str = "default"
) -> ProstatePhantom:
    """Draw a study; it depends on these arguments alone.

    Args:
        seed: of the set of studies.
        index: of the study among those with, or without, a lesion.
        is_positive: with a lesion.
        patient_index: studies of one set with the same number show the same anatomy; by default ``index``.
        difficulty: 'default', or 'hard' for small, at times faint lesions among benign look-alikes.

    Returns:
        the volumes, of 1.6 million voxels in T2W.

    Raises:
        ConfigError: ``difficulty`` is another.

    >>> phantom = prostate_phantom(seed=0, index=0, is_positive=True)
    >>> phantom.t2w.shape, phantom.adc.shape, phantom.t2w.dtype.name
    ((11, 384, 384), (11, 128, 84), 'int16')
    >>> phantom.isup_grade in (2, 3, 4, 5) and int(phantom.lesion.max()) == phantom.isup_grade
    True
    """
    patient = index if patient_index is None else patient_index
    kind = "positive" if is_positive else "negative"
    anatomy = draw_anatomy(
        np.random.default_rng(stream_seed(seed, "prostate phantom anatomy", kind, patient)), is_positive, difficulty
    )
    random = np.random.default_rng(stream_seed(seed, "prostate phantom acquisition", kind, index))
    shift_mm = (float(random.uniform(-0.9, 0.9)), float(random.uniform(-0.9, 0.9)))
    fine = Grid.centred((NUM_SLICES, 384, 384), (SLICE_THICKNESS_MM, 0.5, 0.5))
    coarse = Grid.centred((NUM_SLICES, 128, 84), (SLICE_THICKNESS_MM, 2.0, 2.0), shift_mm)
    (t2w,) = _paint(anatomy, fine, channels=(0,), min_edge_mm=1.0, lesion_edge_mm=3.5)
    adc, hbv = _paint(anatomy, coarse, channels=(1, 2), min_edge_mm=2.0, lesion_edge_mm=2.0)
    texture = _texture(random, fine, grain_mm=10.0)
    t2w *= 1 + 0.08 * texture
    diffusion_texture = _texture(random, coarse, grain_mm=10.0)
    adc *= 1 + 0.08 * diffusion_texture
    hbv *= 1 - 0.08 * diffusion_texture
    t2w += 0.03 * random.standard_normal(t2w.shape, dtype=np.float32)
    adc += 0.03 * random.standard_normal(adc.shape, dtype=np.float32)
    hbv += 0.03 * random.standard_normal(hbv.shape, dtype=np.float32)
    gland = _inside(anatomy.gland, fine)
    lesion = np.zeros_like(gland)
    if anatomy.lesion is not None:
        lesion = _inside(anatomy.lesion, fine) * gland * np.uint8(anatomy.isup_grade)
    return ProstatePhantom(
        _stored(t2w, T2W_UNITS * random.uniform(0.8, 1.2)),
        _stored(adc, ADC_UNITS),
        _stored(hbv, HBV_UNITS * random.uniform(0.8, 1.2)),
        gland,
        lesion,
        shift_mm,
        anatomy.isup_grade,
    )


def _paint(
    anatomy: Anatomy, grid: Grid, channels: Sequence[int], min_edge_mm: float, lesion_edge_mm: float
) -> list[np.ndarray]:
    """Paint the organs on the grid, one volume a channel, later ones over earlier ones."""
    volumes = [np.full(grid.shape, FAT[channel], dtype=np.float32) for channel in channels]
    for shape, signal, edge_mm in (*anatomy.surroundings, *anatomy.inside):
        box, share = shape.coverage(grid, max(edge_mm, min_edge_mm))
        for volume, channel in zip(volumes, channels, strict=True):
            volume[box] += share * (np.float32(signal[channel]) - volume[box])
    for shape, shares in anatomy.findings:
        box, share = shape.coverage(grid, lesion_edge_mm)
        within = Grid(grid.u[box[2]], grid.v[box[1]], grid.s[box[0]])
        inner, gland_share = anatomy.gland.coverage(within, min_edge_mm)
        in_gland = np.zeros_like(share)
        in_gland[inner] = gland_share
        share *= in_gland
        for volume, channel in zip(volumes, channels, strict=True):
            volume[box] += np.float32(shares[channel]) * share * (np.float32(LESION[channel]) - volume[box])
    return volumes


def _inside(shape: Ellipsoid, grid: Grid) -> np.ndarray:
    """Return 1 where a voxel's centre lies inside the shape, else 0, uint8."""
    box, share = shape.coverage(grid, edge_mm=0.1)
    mask = np.zeros(grid.shape, dtype=np.uint8)
    mask[box] = share > 0.5
    return mask


def _texture(random: np.random.Generator, grid: Grid, grain_mm: float) -> np.ndarray:
    """Return smooth random values of about unit spread with grains of about ``grain_mm`` in the plane, by slice."""
    (rows, columns) = (spline_weights(centres, grain_mm) for centres in (grid.v, grid.u))
    knots = random.standard_normal((len(grid.s), rows.shape[1], columns.shape[1]), dtype=np.float32)
    return np.matmul(np.matmul(rows, knots), columns.T)


def _stored(volume: np.ndarray, units: float) -> np.ndarray:
    """Clip to what the receiver takes, 0 to 1, and store in whole ``units``."""
    np.clip(volume, 0, 1, out=volume)
    volume *= np.float32(units)
    return np.rint(volume, out=volume).astype(np.int16)
