# SPDX-License-Identifier: Apache-2.0
"""A phantom of a frontal chest radiograph, drawn from a seed."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from medti_components.data.phantoms.chest_anatomy import (
    LEFT,
    RIGHT,
    ChestAnatomy,
    Ellipse,
    PlaneGrid,
    draw_chest_anatomy,
    soft,
)
from medti_components.data.phantoms.spline_texture import spline_weights
from medti_components.random_streams import stream_seed

SHORTER_EDGE = 320  # pixels, as in CheXpert's small version

# Brightness from 0, air, to 1.
LUNG, WALL, ABDOMEN, HEART, FLUID, CONSOLIDATION = 0.20, 0.46, 0.70, 0.72, 0.74, 0.70


@dataclass(frozen=True)
class ChestPhantom:
    """One image, (rows, columns) uint8, 320 pixels on the shorter edge, the patient's right on the left.

    ``lungs``, ``heart``, ``effusion`` and ``opacity`` are masks of the same shape, True where the outline of the organ
    or finding covers a pixel. ``has_devices`` tells whether lines or electrodes lie across it.
    """

    image: np.ndarray
    lungs: np.ndarray
    heart: np.ndarray
    effusion: np.ndarray
    opacity: np.ndarray
    is_female: bool
    has_devices: bool
    cardiothoracic_ratio: float


def chest_phantom(
    seed: int,
    kind: str,
    index: int,
    findings: Collection[str] = (),
    view: str = "AP",
    patient_index: int | None = None,
) -> ChestPhantom:
    """Draw an image; it depends on these arguments alone.

    Args:
        seed: of the set of images.
        kind: of case, so that those of two kinds are of different patients.
        index: of the image among those of its kind.
        findings: those of 'cardiomegaly', 'pleural_effusion' and 'pneumonia' to show.
        view: 'AP' or 'PA'.
        patient_index: images of one kind with the same number show the same anatomy; by default ``index``.

    >>> phantom = chest_phantom(seed=0, kind="pneumonia", index=0, findings=["pneumonia"])
    >>> min(phantom.image.shape), phantom.image.dtype.name, bool(phantom.opacity.any()), bool(phantom.effusion.any())
    (320, 'uint8', True, False)
    """
    patient = index if patient_index is None else patient_index
    random = np.random.default_rng(stream_seed(seed, "chest phantom anatomy", kind, patient))
    is_female = bool(random.random() < 0.45)
    anatomy = draw_chest_anatomy(random, findings, is_female)
    random = np.random.default_rng(stream_seed(seed, "chest phantom acquisition", kind, index))
    grid, content = _framed(random, anatomy)
    lungs = np.clip(anatomy.lung_share(grid, RIGHT) + anatomy.lung_share(grid, LEFT), 0, 1)
    heart, effusion = anatomy.heart_share(grid), anatomy.effusion_share(grid)
    opacity = np.clip(anatomy.opacity_share(grid) * (1.05 + 0.22 * _texture(random, grid, grain_mm=16.0)), 0, 1)
    has_devices = view == "AP" and bool(random.random() < 0.35)

    image = _soft_tissue(random, anatomy, grid, lungs, view)
    image += lungs * (1 - heart) * 0.022 * _texture(random, grid, grain_mm=26.0)
    image += lungs * _vessels(random, anatomy, grid)
    image = _over(image, 0.85 * opacity, CONSOLIDATION)
    image = _over(image, 0.96 * effusion, FLUID)
    image = _over(image, 0.94 * heart, HEART)
    image += _bones(random, anatomy, grid, view) * (1 - 0.6 * np.maximum(heart, effusion))
    if has_devices:
        image += _devices(random, anatomy, grid)
    if random.random() < 0.5:
        image = np.maximum(image, 0.97 * _side_marker(random, grid))
    stored = _exposed(random, image, grid)
    return ChestPhantom(
        image=content.framed(stored),
        lungs=content.framed(lungs > 0.5),
        heart=content.framed(heart > 0.5),
        effusion=content.framed(effusion > 0.5),
        opacity=content.framed(opacity > 0.5),
        is_female=is_female,
        has_devices=has_devices,
        cardiothoracic_ratio=anatomy.cardiothoracic_ratio,
    )


@dataclass(frozen=True)
class _Frame:
    """The whole picture, and the part of it within its black borders."""

    shape: tuple[int, int]
    inside: tuple[slice, slice]

    def framed(self, picture: np.ndarray) -> np.ndarray:
        """Return ``picture`` with its borders, of zero."""
        whole = np.zeros(self.shape, dtype=picture.dtype)
        whole[self.inside] = picture
        return whole


def _framed(random: np.random.Generator, anatomy: ChestAnatomy) -> tuple[PlaneGrid, _Frame]:
    """Draw shape and place of a picture collimated to the lungs: upright or broad, four in ten with black borders."""
    longer = int(round(SHORTER_EDGE * random.uniform(1.0, 1.24)))
    shape = (SHORTER_EDGE, longer) if random.random() < 0.65 else (longer, SHORTER_EDGE)
    borders = np.zeros(4)
    if random.random() < 0.4:
        pairs = ((0, 1), (2, 3), (0, 1, 2, 3), (int(random.integers(4)),))[int(random.integers(4))]
        borders[list(pairs)] = random.uniform(0.03, 0.11, size=len(pairs))
    top, bottom, left, right = (int(share * shape[0 if side < 2 else 1]) for side, share in enumerate(borders))
    inside = (slice(top, shape[0] - bottom), slice(left, shape[1] - right))
    rows, columns = shape[0] - top - bottom, shape[1] - left - right
    width_mm, height_mm = 2 * anatomy.half_width_mm + random.uniform(6, 40), random.uniform(262, 285)
    spacing_mm = max(width_mm / columns, height_mm / rows)
    centre_mm = (random.uniform(-8, 8), random.uniform(-22, -6))
    grid = PlaneGrid.framed((rows, columns), spacing_mm, centre_mm, random.uniform(-0.045, 0.045))
    return grid, _Frame(shape, inside)


def _over(image: np.ndarray, share: np.ndarray, brightness: float) -> np.ndarray:
    return image + share * (brightness - image)


def _soft_tissue(
    random: np.random.Generator, anatomy: ChestAnatomy, grid: PlaneGrid, lungs: np.ndarray, view: str
) -> np.ndarray:
    """Paint trunk, neck, arms, abdomen, lungs, breasts, stomach gas and windpipe on air."""
    t = np.abs(grid.x)
    outline = anatomy.half_width_mm + anatomy.wall_mm
    shoulder_v = anatomy.apex_v - 34 + 46 * np.clip((t - 55) / 130, 0, 1.5) ** 1.6
    waist = outline + np.clip(-(grid.v + 55) * 0.9, 0, 70)
    trunk = np.minimum(waist - t, grid.v - shoulder_v)
    neck = np.minimum(random.uniform(50, 60) - t, grid.v - anatomy.apex_v + 120)
    arm_t, arm_turn = outline + random.uniform(42, 62), random.uniform(0.06, 0.2)
    arms = [Ellipse((side * arm_t, 30.0), (34.0, 158.0), -side * arm_turn).depth(grid) * 1.6 for side in (RIGHT, LEFT)]
    body = soft(np.maximum.reduce((trunk, neck, *arms)), 5.0)
    image = np.full_like(grid.x, 0.03)
    thickness = np.sqrt(np.clip(1 - (t / (outline + 60)) ** 2, 0.08, 1))
    image = image * (1 - body) + body * (WALL + 0.16 * (thickness - 0.6))
    below = np.zeros_like(grid.x)
    beyond = np.clip(t - anatomy.half_width_mm, 0, None)
    for side in (RIGHT, LEFT):
        depth = grid.v - anatomy.diaphragm_v(np.minimum(t, anatomy.half_width_mm), side)
        below = np.where(side * grid.x > 0, soft(depth, 3.0 + 1.5 * beyond), below)
    middle = soft(26 - t, 16.0) * soft(grid.v - anatomy.apex_v - 20, 80.0)
    image = _over(image, body * np.maximum(below, 0.9 * middle) * thickness, ABDOMEN)
    if anatomy.stomach_gas is not None:
        image -= 0.26 * anatomy.stomach_gas.share(grid, 4.0) * below
    base = np.clip((grid.v + 40) / 130, 0, 1)
    image = _over(image, lungs, LUNG + random.uniform(-0.03, 0.05)) + lungs * (0.06 * base + 0.05 * (1 - thickness))
    for breast in anatomy.breasts:
        image += 0.07 * breast.share(grid, 4.0) * body * (1 - below)
    windpipe = soft(7.5 - np.abs(grid.x + 2), 4.0) * soft(-50 - grid.v, 8.0)
    shade = 0.06 * soft(t - anatomy.half_width_mm + 40, 30.0) * soft(10 - grid.v, 40.0) if view == "AP" else 0.0
    return image + body * shade - 0.10 * windpipe * body


def _vessels(random: np.random.Generator, anatomy: ChestAnatomy, grid: PlaneGrid) -> np.ndarray:
    """Draw both hila and the vessels that leave them, ever finer."""
    image = np.zeros_like(grid.x)
    for side, hilum_v in ((RIGHT, -14.0), (LEFT, -24.0)):
        place = (side * random.uniform(34, 42), hilum_v + random.uniform(-5, 5))
        image = np.maximum(image, 0.20 * Ellipse(place, (12.0, 20.0), side * 0.3).share(grid, 16.0))
        for angle in np.linspace(-1.25, 1.35, 9) + random.uniform(-0.12, 0.12, size=9):
            length, bend = random.uniform(55, 95), random.uniform(-0.007, 0.007)
            along = (side * (grid.x - place[0])) * np.cos(angle) + (grid.v - place[1]) * np.sin(angle)
            across = -(side * (grid.x - place[0])) * np.sin(angle) + (grid.v - place[1]) * np.cos(angle)
            across = across - bend * along * along
            width = np.clip(3.2 * (1 - along / length), 0.8, 3.2)
            fade = np.clip(1 - along / length, 0, 1) * (along > 0)
            image = np.maximum(image, 0.13 * fade * np.exp(-0.5 * (across / width) ** 2))
    return image


def _bones(random: np.random.Generator, anatomy: ChestAnatomy, grid: PlaneGrid, view: str) -> np.ndarray:
    """Draw spine, ribs, collarbones, shoulder blades and the heads of the upper arms, to be added."""
    t = np.abs(grid.x)
    within = soft(anatomy.lateral_mm(grid.v) + 4 - t, 3.0)
    within *= 0.25 + 0.75 * soft(anatomy.dome_v[LEFT] + 0.6 * anatomy.recess_mm - grid.v, 25.0)
    spine = soft(16 - t, 3.0) * (0.03 + 0.012 * np.cos(2 * np.pi * grid.v / 21 + random.uniform(0, 6)))
    image = spine * soft(anatomy.dome_v[LEFT] + 70 - grid.v, 30.0)
    out = t / anatomy.half_width_mm
    strength = random.uniform(0.045, 0.075)
    for rib in range(10):
        start_v = anatomy.apex_v + 14 + rib * anatomy.rib_gap_mm
        across = grid.v - (start_v - 10 * np.sin(2.2 * out) + (24 + 2.2 * rib) * out**2.2)
        image += strength * _bar(across, 5.0) * soft(t - 18, 6.0) * within
        if 1 <= rib <= 6:
            across = grid.v - (start_v + 4 + 62 * np.clip(1.02 - out, 0, None) ** 1.3 + 10)
            image += 0.5 * strength * _bar(across, 6.0) * soft(t - 0.42 * anatomy.half_width_mm, 22.0) * within
    tilt, lift = (random.uniform(-0.05, 0.12), 8.0) if view == "AP" else (random.uniform(0.12, 0.3), 0.0)
    across = grid.v - (anatomy.apex_v + 30 - lift - tilt * (t - 20) + 5 * np.sin(t / 24))
    image += 0.12 * _bar(across, 6.0) * soft(t - 14, 5.0) * soft(165 - t, 8.0)
    blade_t = anatomy.half_width_mm + (2 if view == "AP" else 30)
    for side in (RIGHT, LEFT):
        blade = Ellipse((side * blade_t, -48.0), (24.0, 56.0), -side * random.uniform(0.1, 0.3))
        image += 0.05 * blade.share(grid, 5.0)
        joint = (side * (anatomy.half_width_mm + anatomy.wall_mm + random.uniform(14, 24)), anatomy.apex_v + 32)
        image += 0.13 * Ellipse(joint, (23.0, 25.0)).share(grid, 4.0)
    return image


def _bar(across: np.ndarray, half_width_mm: float) -> np.ndarray:
    """Return the profile of a flat bone: bright rims about a paler middle."""
    return soft(half_width_mm - np.abs(across), 2.5) * (0.7 + 0.3 * np.clip(np.abs(across) / half_width_mm, 0, 1) ** 2)


def _devices(random: np.random.Generator, anatomy: ChestAnatomy, grid: PlaneGrid) -> np.ndarray:
    """Draw one to three wires with their electrodes, to be added."""
    image = np.zeros_like(grid.x)
    for _ in range(int(random.integers(1, 4))):
        place = (random.uniform(-90, 90), random.uniform(-70, 40))
        wave, length, turn = random.uniform(8, 25), random.uniform(40, 80), random.uniform(-0.5, 0.5)
        across = grid.x - place[0] - turn * (grid.v - place[1]) - wave * np.sin((grid.v - place[1]) / length)
        image += 0.16 * np.exp(-0.5 * (across / 1.0) ** 2) * (grid.v > place[1])
        image += 0.2 * Ellipse(place, (4.5, 4.5)).share(grid, 1.5)
    return image


def _side_marker(random: np.random.Generator, grid: PlaneGrid) -> np.ndarray:
    """Draw an L of lead beside the patient's left shoulder."""
    x, v = grid.x - random.uniform(118, 140), grid.v + random.uniform(132, 146)
    stem = np.minimum(1.6 - np.abs(x), 7 - np.abs(v))
    foot = np.minimum(4.5 - np.abs(x - 3.2), 1.6 - np.abs(v - 6))
    return soft(np.maximum(stem, foot), 1.0)


def _exposed(random: np.random.Generator, image: np.ndarray, grid: PlaneGrid) -> np.ndarray:
    """Return stored grey values: exposure, contrast and slope across the field differ from image to image."""
    slope = random.uniform(-0.05, 0.05) * grid.x / 150 + random.uniform(-0.04, 0.04) * grid.v / 150
    image = np.clip(image * (1 + slope), 0, 1) ** random.uniform(0.85, 1.2)
    image = image * random.uniform(1.05, 1.25)
    image += random.uniform(0.008, 0.018) * random.standard_normal(image.shape, dtype=np.float32)
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _texture(random: np.random.Generator, grid: PlaneGrid, grain_mm: float) -> np.ndarray:
    """Return smooth random values of about unit spread, with grains of about ``grain_mm``."""
    spacing_mm = float(np.hypot(grid.x[0, 1] - grid.x[0, 0], grid.v[0, 1] - grid.v[0, 0]))
    rows, columns = (spline_weights(np.arange(size, dtype=np.float32), grain_mm / spacing_mm) for size in grid.x.shape)
    knots = random.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32)
    return rows @ knots @ columns.T
