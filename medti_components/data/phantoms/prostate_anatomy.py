# SPDX-License-Identifier: Apache-2.0
"""The male pelvis as a list of ellipsoids, drawn from a random generator."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medti_components.data.phantoms.phantom_set import between
from medti_components.errors import ConfigError

# Signal of each tissue on (T2W, ADC, HBV) as a share of the brightest, with fat suppressed on the diffusion sequences.
FAT = (0.56, 0.10, 0.07)
MUSCLE = (0.14, 0.42, 0.17)
CORTEX = (0.05, 0.06, 0.04)
MARROW = (0.40, 0.13, 0.09)
URINE = (1.00, 1.00, 0.05)
VESSEL = (0.03, 0.30, 0.10)
RECTAL_WALL = (0.30, 0.46, 0.30)
GAS = (0.02, 0.02, 0.02)
CAPSULE = (0.18, 0.40, 0.22)
PERIPHERAL_ZONE = (0.82, 0.66, 0.32)
TRANSITION_ZONE = (0.44, 0.50, 0.36)
LESION = (0.22, 0.20, 0.92)
HOT_SPOT = (0.56, 0.10, 1.50)

DIFFICULTIES = ("default", "hard")
# What a benign look-alike shares of a lesion's signal on (T2W, ADC, HBV); a lesion has all three.
STROMAL_NODULE = (1.0, 1.0, 0.0)
PROSTATITIS = (0.0, 0.0, 1.0)
LOOK_ALIKES = (STROMAL_NODULE, PROSTATITIS)
# Of hard patients' lesions: the longer half axis in mm, and how far the signal goes over to a lesion's
SMALL_MM, PLAIN, FAINT = (3.2, 5.8), (0.8, 1.0), (0.1, 0.35)
# Shares of hard patients: lesions that are faint, healthy glands with what can't be told from a lesion (granulomatous
# prostatitis has all three signs), glands of either class with one of the LOOK_ALIKES
SHARE_FAINT, WHOLLY_ALIKE, HALF_ALIKE = 0.2, 0.2, 0.3


@dataclass(frozen=True)
class Grid:
    """Centres of voxels in mm: ``u`` to the patient's left, ``v`` to the back, ``s`` along the slices to the head."""

    u: np.ndarray
    v: np.ndarray
    s: np.ndarray

    @classmethod
    def centred(
        cls, shape: tuple[int, int, int], spacing_mm: Sequence[float], shift_mm: Sequence[float] = (0.0, 0.0)
    ) -> "Grid":
        """Return the grid of ``shape`` (z, y, x) and ``spacing_mm`` (z, y, x) around the origin, moved by (y, x) mm."""
        s, v, u = (
            (np.arange(size) - (size - 1) / 2) * spacing + shift
            for size, spacing, shift in zip(shape, spacing_mm, (0.0, *shift_mm), strict=True)
        )
        return cls(u.astype(np.float32), v.astype(np.float32), s.astype(np.float32))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sizes (z, y, x)."""
        return len(self.s), len(self.v), len(self.u)


@dataclass(frozen=True)
class Ellipsoid:
    """One organ or part of it: centre and half axes (u, v, s) in mm, turned by ``angle`` in the axial plane."""

    centre_mm: tuple[float, float, float]
    half_axes_mm: tuple[float, float, float]
    angle: float = 0.0

    def grown(self, margin_mm: float) -> "Ellipsoid":
        """Return the ellipsoid with each half axis longer by ``margin_mm``."""
        a, b, c = (half_axis + margin_mm for half_axis in self.half_axes_mm)
        return replace(self, half_axes_mm=(a, b, c))

    def moved(self, scale: float, turn: float, shift_mm: tuple[float, float]) -> "Ellipsoid":
        """Return the ellipsoid after scaling about the origin, a turn in the axial plane and a shift (u, v)."""
        u, v, s = (scale * value for value in self.centre_mm)
        cosine, sine = math.cos(turn), math.sin(turn)
        a, b, c = (scale * value for value in self.half_axes_mm)
        centre = (cosine * u - sine * v + shift_mm[0], sine * u + cosine * v + shift_mm[1], s)
        return Ellipsoid(centre, (a, b, c), self.angle + turn)

    def coverage(self, grid: Grid, edge_mm: float) -> tuple[tuple[slice, slice, slice], np.ndarray]:
        """Return a box of the grid and the share (0 to 1) of each voxel in it that the ellipsoid fills.

        The share falls from 1 to 0 over about ``edge_mm`` across the surface.
        """
        (cu, cv, cs), (a, b, c) = self.centre_mm, self.half_axes_mm
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        reach = 1 + edge_mm / min(a, b)
        box = (
            _span(grid.s, cs, c * reach),
            _span(grid.v, cv, math.hypot(a * sine, b * cosine) * reach),
            _span(grid.u, cu, math.hypot(a * cosine, b * sine) * reach),
        )
        s, v, u = grid.s[box[0]] - cs, grid.v[box[1]] - cv, grid.u[box[2]] - cu
        across = (cosine * u[None, :] + sine * v[:, None]) / a
        along = (cosine * v[:, None] - sine * u[None, :]) / b
        square = (across * across + along * along)[None] + (s * s / (c * c))[:, None, None]
        share = 1 - np.sqrt(square, out=square)
        share *= min(a, b) / edge_mm
        share += 0.5
        return box, np.clip(share, 0, 1, out=share)


def _span(centres: np.ndarray, middle: float, reach: float) -> slice:
    first, last = np.searchsorted(centres, (middle - reach, middle + reach))
    return slice(int(first), int(last))


Painted = tuple[Ellipsoid, tuple[float, float, float], float]
Finding = tuple[Ellipsoid, tuple[float, float, float]]


@dataclass(frozen=True)
class Anatomy:
    """What one patient has: organs in the order of painting (shape, signal on the sequences, edge in mm).

    ``findings`` are the lesion and what looks like one: shape, and for each sequence how far the signal of what lies
    beneath goes over to the lesion's, 0 to 1.
    """

    surroundings: list[Painted]
    gland: Ellipsoid
    inside: list[Painted]
    lesion: Ellipsoid | None
    isup_grade: int
    findings: list[Finding]


def check_difficulty(difficulty: str) -> None:
    """Check that there are phantoms of a difficulty.

    Raises:
        ConfigError: there are none.

    >>> check_difficulty("hard")
    """
    if difficulty not in DIFFICULTIES:
        raise ConfigError(f"difficulty must be {' or '.join(DIFFICULTIES)}, got {difficulty!r}: correct --difficulty")


def draw_anatomy(random: np.random.Generator, is_positive: bool, difficulty: str = "default") -> Anatomy:
    """Draw a patient: sizes, places and shapes of the organs, and a lesion of 8 to 19 mm where ``is_positive``.

    With ``difficulty`` 'hard' the lesion is of 5 to 12 mm, at 80 to 100 % of its contrast, or 10 to 35 % of it in one
    of five. Benign look-alikes of the same sizes: in three of ten glands of either class a stromal nodule, dark on T2W
    and ADC, or prostatitis, bright on HBV; in one of five without a lesion what is like one on all three.

    Raises:
        ConfigError: ``difficulty`` is another.

    >>> draw_anatomy(np.random.default_rng(0), is_positive=True).isup_grade in (2, 3, 4, 5)
    True
    """
    check_difficulty(difficulty)
    gland = Ellipsoid(
        (0.0, between(random, 0, 5), between(random, -2, 2)),
        (between(random, 21, 28), between(random, 16, 22), between(random, 16, 19)),
    )
    surroundings = [
        *_draw_pelvic_wall(random),
        *_draw_rectum(random, gland),
        *_draw_bladder(random, gland),
        (gland.grown(1.5), CAPSULE, 1.5),
        (gland, PERIPHERAL_ZONE, 1.5),
    ]
    inside = _draw_transition_zone(random, gland)
    lesion, isup_grade = None, 0
    if is_positive:
        isup_grade = int(random.choice((2, 3, 4, 5), p=(0.55, 0.23, 0.1, 0.12)))  # as often as in PI-CAI
        lesion = _draw_lesion(random, gland) if difficulty == "default" else _draw_small(random, gland)
    findings: list[Finding] = [(lesion, (1.0, 1.0, 1.0))] if lesion else []
    if difficulty == "hard":
        findings = _draw_findings(random, gland, lesion)
    scale, turn = between(random, 0.93, 1.07), between(random, -0.06, 0.06)
    shift = (between(random, -4, 4), between(random, -3, 3))

    def moved(shapes: list[Painted]) -> list[Painted]:
        return [(shape.moved(scale, turn, shift), signal, edge) for shape, signal, edge in shapes]

    return Anatomy(
        moved(surroundings),
        gland.moved(scale, turn, shift),
        moved(inside),
        lesion.moved(scale, turn, shift) if lesion else None,
        isup_grade,
        [(shape.moved(scale, turn, shift), shares) for shape, shares in findings],
    )


def _draw_pelvic_wall(random: np.random.Generator) -> list[Painted]:
    """Draw muscles, bones and vessels of both sides, and the coccyx; far in front, a bright spot of the receiver coil.

    The spot sets the top of the scale of the high-b sequence in every study, with a lesion or without.
    """
    shapes: list[Painted] = []
    for side in (-1, 1):
        gluteal, obturator = _beside(random, side, 52, 82, 40, 15, -0.35), _beside(random, side, 45, 6, 8.5, 33, -0.16)
        hip, ischium = _beside(random, side, 73, -16, 19, 27, 0.25), _beside(random, side, 63, 34, 12, 19, -0.2)
        shapes += [
            (gluteal, MUSCLE, 2.0),
            (hip.grown(2.5), CORTEX, 1.5),
            (hip, MARROW, 1.5),
            (ischium.grown(2.0), CORTEX, 1.5),
            (ischium, MARROW, 1.5),
            (obturator, MUSCLE, 1.5),
            (_beside(random, side, 60, -60, 6, 6, 0.0), VESSEL, 1.5),
            (_beside(random, side, 21, -68, 20, 8, 0.1), MUSCLE, 2.0),
            (_beside(random, side, 28, -112, 8, 5, 0.0), HOT_SPOT, 1.5),
        ]
    coccyx = Ellipsoid(
        (between(random, -2, 2), between(random, 64, 72), 0.0), (between(random, 6, 9), between(random, 4, 6), 60.0)
    )
    return [*shapes, (coccyx.grown(1.5), CORTEX, 1.5), (coccyx, MARROW, 1.5)]


def _beside(random: np.random.Generator, side: int, u: float, v: float, a: float, b: float, angle: float) -> Ellipsoid:
    """Return an ellipsoid at one side (-1 right, 1 left), about the size and place given, through all slices."""
    size = between(random, 0.92, 1.08)
    centre = (side * (u + between(random, -2, 2)), v + between(random, -3, 3), 0.0)
    return Ellipsoid(centre, (a * size, b * size, 90.0), side * (angle + between(random, -0.06, 0.06)))


def _draw_rectum(random: np.random.Generator, gland: Ellipsoid) -> list[Painted]:
    a, b = between(random, 10, 16), between(random, 8, 13)
    v = gland.centre_mm[1] + gland.half_axes_mm[1] + b + between(random, 0, 2)
    rectum = Ellipsoid((between(random, -4, 4), v, 0.0), (a, b, 80.0), between(random, -0.2, 0.2))
    return [(rectum, RECTAL_WALL, 1.5), (replace(rectum, half_axes_mm=(0.66 * a, 0.6 * b, 80.0)), GAS, 2.0)]


def _draw_bladder(random: np.random.Generator, gland: Ellipsoid) -> list[Painted]:
    half_axes = (between(random, 19, 32), between(random, 10, 17), between(random, 40, 60))
    v = gland.centre_mm[1] - gland.half_axes_mm[1] - 0.85 * half_axes[1] - between(random, 1, 4)
    centre = (between(random, -4, 4), v, between(random, 10, 25))
    bladder = Ellipsoid(centre, half_axes, between(random, -0.1, 0.1))
    return [(bladder.grown(2.0), MUSCLE, 1.5), (bladder, URINE, 1.5)]


def _draw_transition_zone(random: np.random.Generator, gland: Ellipsoid) -> list[Painted]:
    """Draw the transition zone in the front of the gland, with four to seven nodules."""
    (_, v, s), (a, b, c) = gland.centre_mm, gland.half_axes_mm
    zone = Ellipsoid(
        (between(random, -1, 1), v - 0.2 * b, s + 2),
        (a * between(random, 0.62, 0.76), b * between(random, 0.58, 0.72), 0.8 * c),
    )
    shapes: list[Painted] = [(zone.grown(1.0), CAPSULE, 1.5), (zone, TRANSITION_ZONE, 1.5)]
    (zu, zv, zs), (za, zb, zc) = zone.centre_mm, zone.half_axes_mm
    for _ in range(int(random.integers(4, 8))):
        angle, distance = between(random, -math.pi, math.pi), between(random, 0.2, 0.7)
        radius, depth = between(random, 2.5, 5.0), between(random, -0.5, 0.5)
        centre = (zu + distance * za * math.cos(angle), zv + distance * zb * math.sin(angle), zs + depth * zc)
        nodule = Ellipsoid(centre, (radius, radius * between(random, 0.7, 1.2), 1.5 * radius))
        signal = between(random, -1, 1)
        shapes.append((nodule, (0.46 + 0.2 * signal, 0.52 + 0.1 * signal, 0.36 - 0.04 * signal), 2.0))
    return shapes


def _draw_lesion(random: np.random.Generator, gland: Ellipsoid) -> Ellipsoid:
    """Place a lesion: in seven of ten in the peripheral zone at the back, else further forward."""
    longer = between(random, 5.0, 9.0)
    return _placed(random, gland, longer, max(4.5, longer * between(random, 0.75, 1.0)), (5.0, 9.0), 0.4)


def _draw_small(random: np.random.Generator, gland: Ellipsoid) -> Ellipsoid:
    """Place a small finding near the middle of the gland, where a slice of either class shows it."""
    longer = between(random, *SMALL_MM)
    return _placed(random, gland, longer, longer * between(random, 0.75, 1.0), (5.0, 8.0), 0.12)


def _draw_findings(random: np.random.Generator, gland: Ellipsoid, lesion: Ellipsoid | None) -> list[Finding]:
    """Draw the contrast of a lesion, and look-alikes; what is like a lesion in all is the last."""
    findings: list[Finding] = []
    if random.random() < HALF_ALIKE:
        strength = between(random, 0.3, 0.6)
        t2w, adc, hbv = LOOK_ALIKES[int(random.integers(len(LOOK_ALIKES)))]
        findings.append((_draw_small(random, gland), (strength * t2w, strength * adc, strength * hbv)))
    chance = random.random()
    strength = between(random, *PLAIN)
    if lesion is not None:
        if chance < SHARE_FAINT:
            strength = between(random, *FAINT)
        findings.append((lesion, (strength,) * 3))
    elif chance < WHOLLY_ALIKE:
        findings.append((_draw_small(random, gland), (strength,) * 3))
    return findings


def _placed(
    random: np.random.Generator,
    gland: Ellipsoid,
    longer: float,
    shorter: float,
    heights: tuple[float, float],
    spread: float,
) -> Ellipsoid:
    (u, v, s), (a, b, c) = gland.centre_mm, gland.half_axes_mm
    side = random.choice((-1, 1))
    is_posterior = random.random() < 0.7
    angle = between(random, 0.2, 1.45) if is_posterior else between(random, -1.2, -0.3)
    room = 1 - 0.9 * shorter / b  # the surface of the lesion reaches about the surface of the gland
    centre = (
        u + side * room * a * math.cos(angle),
        v + room * b * math.sin(angle),
        s + between(random, -spread, spread) * c,
    )
    along_surface = math.atan2(math.cos(angle), -side * math.sin(angle))
    return Ellipsoid(centre, (longer, shorter, between(random, *heights)), along_surface)
