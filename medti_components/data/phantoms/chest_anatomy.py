# SPDX-License-Identifier: Apache-2.0
"""The chest as seen from the front: outlines of its organs and findings in mm, drawn from a random generator.

Places are given as ``x``, to the patient's left (the right of the image), and ``v``, downwards, from the middle of the
thorax. ``t`` is the distance from the midline to either side.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from medti_components.data.phantoms.phantom_set import between

RIGHT, LEFT = -1, 1  # the patient's; signs of x


@dataclass(frozen=True)
class PlaneGrid:
    """Places ``x`` and ``v`` in mm of the pixels of an image, each (rows, columns)."""

    x: np.ndarray
    v: np.ndarray

    @classmethod
    def framed(
        cls, shape: tuple[int, int], spacing_mm: float, centre_mm: tuple[float, float] = (0.0, 0.0), angle: float = 0.0
    ) -> "PlaneGrid":
        """Return the grid of ``shape`` (rows, columns) about ``centre_mm`` (x, v), turned by ``angle``."""
        rows, columns = (((np.arange(size) - (size - 1) / 2) * spacing_mm).astype(np.float32) for size in shape)
        cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        x = cosine * columns[None, :] - sine * rows[:, None] + np.float32(centre_mm[0])
        v = sine * columns[None, :] + cosine * rows[:, None] + np.float32(centre_mm[1])
        return cls(x, v)


@dataclass(frozen=True)
class Ellipse:
    """Centre (x, v), half axes and angle (clockwise in the image) of a shape, in mm."""

    centre_mm: tuple[float, float]
    half_axes_mm: tuple[float, float]
    angle: float = 0.0

    def depth(self, grid: PlaneGrid) -> np.ndarray:
        """Return about how far inside the outline a place lies, in mm; negative outside."""
        (cx, cv), (a, b) = self.centre_mm, self.half_axes_mm
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        x, v = grid.x - cx, grid.v - cv
        along, across = (cosine * x + sine * v) / a, (cosine * v - sine * x) / b
        return (1 - np.sqrt(along * along + across * across)) * min(a, b)

    def share(self, grid: PlaneGrid, edge_mm: float) -> np.ndarray:
        """Return 1 inside, 0 outside, and what is between over about ``edge_mm``."""
        return soft(self.depth(grid), edge_mm)


def soft(depth_mm: np.ndarray, edge_mm: float) -> np.ndarray:
    """Turn depths below a surface into shares: 0 far outside, one half on it, 1 far inside.

    >>> soft(np.array([-10.0, 0.0, 10.0]), edge_mm=2.0).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    return 0.5 + 0.5 * np.tanh(depth_mm * (2 / edge_mm))


@dataclass(frozen=True)
class Effusion:
    """Fluid in one pleural space: how far its level lies above the dome, and how much higher it stands at the wall."""

    side: int
    height_mm: float
    rise_mm: float


@dataclass(frozen=True)
class ChestAnatomy:
    """What one patient has. Lengths in mm; see the module for places."""

    half_width_mm: float  # of the thorax within the ribs
    wall_mm: float
    apex_v: float
    dome_v: dict[int, float]  # top of the diaphragm, by side
    recess_mm: float  # from the dome down to the costophrenic angle
    heart: Ellipse
    pedicle_mm: float  # half width of the great vessels
    aortic_knob: Ellipse
    stomach_gas: Ellipse | None
    breasts: list[Ellipse]
    rib_gap_mm: float
    effusions: list[Effusion] = field(default_factory=list)
    opacities: list[Ellipse] = field(default_factory=list)

    @property
    def cardiothoracic_ratio(self) -> float:
        """Width of the heart over that of the thorax."""
        a, b = self.heart.half_axes_mm
        reach = math.hypot(a * math.cos(self.heart.angle), b * math.sin(self.heart.angle))
        return reach / self.half_width_mm

    def lateral_mm(self, v: np.ndarray) -> np.ndarray:
        """Return the distance of the inner chest wall from the midline at the height ``v``."""
        widest_v = 35.0
        above = np.clip((widest_v - v) / (widest_v - self.apex_v), 0, 1)
        return 30 + (self.half_width_mm - 30) * (1 - above**2.3) ** (1 / 2.3)

    def diaphragm_v(self, t: np.ndarray, side: int) -> np.ndarray:
        """Return the height of the diaphragm at a distance from the midline."""
        top_t = 0.48 * self.half_width_mm
        away = (t - top_t) / (self.half_width_mm - top_t)
        depth = np.where(away > 0, np.abs(away) ** 2.4, 0.3 * away * away)
        return self.dome_v[side] + self.recess_mm * depth

    def lung_share(self, grid: PlaneGrid, side: int, deeper_mm: float = 0.0) -> np.ndarray:
        """Return the share of lung, or what fills its place, in front of each pixel; the heart is not taken off.

        It ends ``deeper_mm`` below the diaphragm.
        """
        t = side * grid.x
        medial = 14 + 32 * np.clip(1 - (grid.v - self.apex_v) / 35, 0, 1) ** 2
        share = soft(self.lateral_mm(grid.v) - t, 3.0)
        share *= soft(t - medial, 4.0)
        share *= soft(self.diaphragm_v(t, side) + deeper_mm - grid.v, 2.5)
        share *= soft(grid.v - self.apex_v, 4.0)
        return share

    def heart_share(self, grid: PlaneGrid) -> np.ndarray:
        """Return the share of heart and great vessels."""
        pedicle = soft(self.pedicle_mm - np.abs(grid.x - 3), 6.0) * soft(grid.v - self.apex_v - 30, 70.0)
        (x, v), (a, b) = self.heart.centre_mm, self.heart.half_axes_mm
        root = Ellipse((0.45 * x, v - 0.62 * b), (max(0.66 * a, self.pedicle_mm), b)).share(grid, 6.0)
        shapes = (self.heart.share(grid, 4.0), self.aortic_knob.share(grid, 3.0), pedicle, root)
        return np.maximum.reduce(shapes)

    def effusion_share(self, grid: PlaneGrid) -> np.ndarray:
        """Return the share of fluid: below a level that rises to the wall, the meniscus."""
        share = np.zeros_like(grid.x)
        for fluid in self.effusions:
            t = fluid.side * grid.x
            away = np.clip((t - 25) / (self.half_width_mm - 25), 0, 1)
            level = self.dome_v[fluid.side] - fluid.height_mm - fluid.rise_mm * away**2.5
            share = np.maximum(share, self.lung_share(grid, fluid.side, deeper_mm=9.0) * soft(grid.v - level, 6.0))
        return share

    def opacity_share(self, grid: PlaneGrid) -> np.ndarray:
        """Return the share of patchy opacity before it is given its texture: soft blobs that run together."""
        clear = np.ones_like(grid.x)
        for blob in self.opacities:
            (cx, cv), (a, b) = blob.centre_mm, blob.half_axes_mm
            clear *= 1 - 0.6 * np.exp(-0.5 * ((grid.x - cx) ** 2 / (a * a) + (grid.v - cv) ** 2 / (b * b)))
        lungs = self.lung_share(grid, RIGHT) + self.lung_share(grid, LEFT)
        return (1 - clear) * lungs


def draw_chest_anatomy(random: np.random.Generator, findings: Collection[str], is_female: bool) -> ChestAnatomy:
    """Draw a patient with those of cardiomegaly, pleural_effusion and pneumonia that ``findings`` names.

    >>> draw_chest_anatomy(np.random.default_rng(0), ["cardiomegaly"], is_female=True).cardiothoracic_ratio > 0.58
    True
    """
    half_width = between(random, 122, 136) if is_female else between(random, 130, 146)
    dome = between(random, 52, 78)
    dome_v = {RIGHT: dome, LEFT: dome + between(random, 5, 15)}
    gas = None
    if random.random() < 0.6:
        place = (between(random, 58, 82), dome_v[LEFT] + between(random, 20, 27))
        gas = Ellipse(place, (between(random, 16, 30), between(random, 8, 13)), between(random, -0.1, 0.1))
    size = between(random, 48, 66)
    fall = between(random, 30, 60)
    breasts = [
        Ellipse((side * (0.56 * half_width + between(random, -4, 4)), fall + between(random, -3, 3)), (size, size))
        for side in (RIGHT, LEFT)
        if is_female
    ]
    anatomy = ChestAnatomy(
        half_width_mm=half_width,
        wall_mm=between(random, 20, 42),
        apex_v=between(random, -132, -116),
        dome_v=dome_v,
        recess_mm=between(random, 28, 42),
        heart=_draw_heart(random, half_width, dome_v[LEFT], "cardiomegaly" in findings),
        pedicle_mm=between(random, 21, 28),
        aortic_knob=Ellipse((between(random, 19, 26), between(random, -72, -58)), (15.0, between(random, 14, 18))),
        stomach_gas=gas,
        breasts=breasts,
        rib_gap_mm=between(random, 21, 25),
    )
    if "pleural_effusion" in findings:
        anatomy.effusions.extend(_draw_effusions(random))
    if "pneumonia" in findings:
        anatomy.opacities.extend(_draw_opacities(random, anatomy))
    return anatomy


def _draw_heart(random: np.random.Generator, half_width: float, dome_v: float, is_large: bool) -> Ellipse:
    """Draw a heart that lies on the left dome, two thirds of it on the left: 40 to 50 % of the thorax, or 60 to 72 %.

    A ratio above 0.5 is read as cardiomegaly.
    """
    ratio = between(random, 0.60, 0.72) if is_large else between(random, 0.40, 0.49)
    reach = ratio * half_width
    angle = between(random, 0.3, 0.5)
    b = reach * between(random, 0.60, 0.70)
    a = math.sqrt(reach**2 - (b * math.sin(angle)) ** 2) / math.cos(angle)
    height = math.hypot(a * math.sin(angle), b * math.cos(angle))
    return Ellipse(
        (between(random, 0.26, 0.36) * reach, dome_v + between(random, 0.18, 0.34) * height - height), (a, b), angle
    )


def _draw_effusions(random: np.random.Generator) -> list[Effusion]:
    """Draw fluid at the right, the left or both sides, plainly above the domes."""
    sides = ((RIGHT,), (LEFT,), (RIGHT, LEFT))[int(random.choice(3, p=(0.4, 0.35, 0.25)))]
    return [Effusion(side, between(random, 14, 62), between(random, 22, 42)) for side in sides]


def _draw_opacities(random: np.random.Generator, anatomy: ChestAnatomy) -> list[Ellipse]:
    """Draw one to three patches, each of several blobs, in the mid and lower zones and clear of the recesses."""
    sides = ((RIGHT,), (LEFT,), (RIGHT, LEFT))[int(random.choice(3, p=(0.4, 0.3, 0.3)))]
    blobs = []
    for side in sides:
        for _ in range(int(random.integers(1, 3))):
            t = between(random, 0.45, 0.74) * anatomy.half_width_mm
            v = between(random, -65, anatomy.dome_v[side] - 42)
            for _ in range(int(random.integers(6, 11))):
                place = (side * (t + random.normal(0, 13)), v + random.normal(0, 13))
                size = between(random, 7, 14)
                blobs.append(Ellipse(place, (size, size * between(random, 0.7, 1.2))))
    return blobs


def vessels(random: np.random.Generator, anatomy: ChestAnatomy, grid: PlaneGrid) -> np.ndarray:
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


def bones(random: np.random.Generator, anatomy: ChestAnatomy, grid: PlaneGrid, view: str) -> np.ndarray:
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
