# SPDX-License-Identifier: Apache-2.0
"""A phantom of a stained section of a lymph node, drawn from a seed, and sets in Patch Camelyon's files."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from medti_components.data.datasets.patch_camelyon_files import CLASSES, PATCH_SIZE, SPLIT_FILES, PatchCamelyonFiles
from medti_components.data.phantoms.phantom_marker import mark_phantoms
from medti_components.data.phantoms.phantom_set import check_numbers, smooth_values, spline_weights
from medti_components.errors import OutputError
from medti_components.files import ensure_writable_directory
from medti_components.random_streams import stream_seed

PATCHES_OF_A_SLIDE = 8

# Optical density (R, G, B) of a unit of stain; Ruifrok and Johnston, Anal Quant Cytol Histol 23:291-299, 2001.
HEMATOXYLIN, EOSIN = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11)

_OVERSAMPLING = 2


@dataclass(frozen=True)
class HistologyPhantom:
    """One patch, ``image`` (96, 96, 3) uint8 RGB.

    ``nuclei`` and ``tumor`` are masks (96, 96): what nuclei cover, and where tumour cells grow.
    """

    image: np.ndarray
    nuclei: np.ndarray
    tumor: np.ndarray


def histology_phantom(seed: int, split: str, kind: str, index: int) -> HistologyPhantom:
    """Draw a patch; it depends on these arguments alone.

    Normal tissue has pink stroma with spindle nuclei along its fibres, lymphocytes (small, round, alike, from few to
    many), red blood cells and white gaps. Where tumour grows, over a part at least of the central 32 pixels, nuclei are
    larger, crowded, irregular, and differ in size and darkness. Eight patches of each kind are of one slide: they
    share its stains.

    Args:
        seed: of the set of patches.
        split: 'train', 'valid' or 'test'; no two share a slide.
        kind: 'normal' or 'tumor'.
        index: of the patch among those of its kind.

    >>> phantom = histology_phantom(seed=0, split="train", kind="tumor", index=0)
    >>> phantom.image.shape, phantom.image.dtype.name, bool(phantom.tumor[32:64, 32:64].any())
    ((96, 96, 3), 'uint8', True)
    """
    random = np.random.default_rng(stream_seed(seed, "histology phantom", split, kind, index))
    slide = np.random.default_rng(stream_seed(seed, "histology phantom slide", split, index // PATCHES_OF_A_SLIDE))
    section = _Section(random)
    tumor = section.tumor_share() if kind == "tumor" else np.zeros_like(section.x)
    section.lay_stroma(tumor)
    section.add_red_cells(tumor)
    section.add_spindle_nuclei(tumor)
    section.add_lymphocytes(tumor)
    if kind == "tumor":
        section.add_tumor_cells(tumor)
    return HistologyPhantom(
        image=_stained(slide, random, section.hematoxylin, section.eosin),
        nuclei=_reduced(section.nuclei) > 0.5,
        tumor=_reduced(tumor) > 0.5,
    )


def _places_on_edge() -> np.ndarray:
    return (np.arange(PATCH_SIZE * _OVERSAMPLING, dtype=np.float32) + 0.5) / _OVERSAMPLING


@functools.cache
def _weights(grain: float) -> np.ndarray:
    return spline_weights(_places_on_edge(), grain)


class _Section:
    """Amounts of both stains on a grid twice as fine as the patch; lengths in the patch's pixels, a micrometre each."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        places = _places_on_edge()
        self.y, self.x = np.meshgrid(places, places, indexing="ij")
        self.hematoxylin = np.zeros_like(self.x)
        self.eosin = np.zeros_like(self.x)
        self.nuclei = np.zeros_like(self.x)
        self.fibre_angle = float(random.uniform(0, np.pi))
        self._placed: list[tuple[float, float, float]] = []  # (y, x, radius) of the nuclei

    def texture(self, grain: float) -> np.ndarray:
        """Return smooth random values of about unit spread, with grains of about ``grain`` pixels."""
        weights = _weights(grain)
        return smooth_values(self.random, weights, weights)

    def tumor_share(self) -> np.ndarray:
        """Return the share of tumour, 0 to 1: a ragged nest over part of the centre at least, often over all."""
        centre_y, centre_x = self.random.uniform(36, 60, size=2)
        radius = self.random.uniform(30, 75)
        distance = np.hypot(self.y - centre_y, self.x - centre_x)
        return np.clip((radius + 7 * self.texture(26.0) - distance) / 3, 0, 1)

    def lay_stroma(self, tumor: np.ndarray) -> None:
        """Lay wavy pink fibres with white gaps between them; tumour has cytoplasm in their place."""
        along = 5 * self.texture(48.0)
        across = self.y * np.cos(self.fibre_angle) - self.x * np.sin(self.fibre_angle) + along
        fibres = np.zeros_like(self.x)
        for _ in range(4):
            wave, phase = self.random.uniform(3.5, 15), self.random.uniform(0, 2 * np.pi)
            strand = np.cos(2 * np.pi * across / wave + phase + 1.8 * self.texture(18.0))
            fibres += 0.55 * strand * np.clip(0.5 + self.texture(20.0), 0, 1.5)
        gaps = np.clip(2.5 * (self.texture(30.0) + 0.45 * fibres - self.random.uniform(0.3, 1.8)) + 0.5, 0, 1)
        nest_gaps = np.clip(3 * (self.texture(16.0) - self.random.uniform(1.5, 2.6)) + 0.5, 0, 1)
        tissue = 1 - gaps * (1 - tumor) - nest_gaps * tumor
        stroma = np.clip(0.40 + 0.13 * fibres + 0.07 * self.texture(12.0) + 0.04 * self.texture(3.0), 0.08, 1)
        cytoplasm = np.clip(0.38 + 0.09 * self.texture(9.0) + 0.05 * self.texture(3.0), 0.08, 1)
        self.eosin = tissue * (stroma * (1 - tumor) + cytoplasm * tumor)
        self.hematoxylin = tissue * (0.10 * (1 - tumor) + (0.22 + 0.06 * self.texture(7.0)) * tumor)

    def add_red_cells(self, tumor: np.ndarray) -> None:
        """Add red blood cells in a cluster, to four patches of ten."""
        if self.random.random() > 0.4:
            return
        centre = self.random.uniform(0, PATCH_SIZE, size=2)
        for _ in range(int(self.random.integers(4, 22))):
            y, x = centre + self.random.normal(0, 12, size=2)
            box, share = self._shape(y, x, self.random.uniform(2.2, 3.2), self.random.uniform(1.0, 1.4), wobble=0.08)
            share = np.clip(share, 0, 1) * (1 - tumor[box])
            self.eosin[box] += share * (1.15 - self.eosin[box])
            self.hematoxylin[box] *= 1 - share

    def add_spindle_nuclei(self, tumor: np.ndarray) -> None:
        """Add thin dark nuclei along the fibres."""
        for y, x, radius in self._places(int(self.random.integers(3, 9)), (1.7, 2.4), 1.5, self._outside(tumor)):
            turn = self.fibre_angle + self.random.normal(0, 0.25)
            self._add_nucleus(y, x, radius, self.random.uniform(2.0, 3.2), turn, 0.08, self.random.uniform(1.2, 1.7))

    def add_lymphocytes(self, tumor: np.ndarray) -> None:
        """Add small round nuclei, all alike: a few, or, in one patch of three, many."""
        many = self.random.random() < 0.33
        number = int(self.random.integers(45, 110) if many else self.random.integers(4, 20))
        darkness = self.random.uniform(1.5, 1.8)
        for y, x, radius in self._places(number, (2.3, 2.9), 1.15, self._outside(tumor)):
            stretch, turn = self.random.uniform(1.0, 1.15), self.random.uniform(0, np.pi)
            self._add_nucleus(y, x, radius, stretch, turn, 0.05, darkness * self.random.uniform(0.88, 1.12))

    def add_tumor_cells(self, tumor: np.ndarray) -> None:
        """Crowd the nest with large nuclei that differ in size, outline and darkness."""
        mean = self.random.uniform(4.4, 6.6)
        pale = self.random.uniform(0.1, 0.8)  # share of nuclei that are vesicular: a dark rim about a pale inside

        def inside(y: float, x: float) -> bool:
            return bool(self._at(tumor, y, x) > 0.4)

        for y, x, radius in self._places(160, (0.65 * mean, 1.35 * mean), 0.98, inside):
            is_pale = self.random.random() < pale
            darkness, rim = (self.random.uniform(1.0, 1.3), 0.45) if is_pale else (self.random.uniform(1.2, 1.9), 0.12)
            stretch, turn = self.random.uniform(1.0, 1.7), self.random.uniform(0, np.pi)
            self._add_nucleus(y, x, radius, stretch, turn, 0.12, darkness, rim, chromatin=0.13)
            for _ in range(int(self.random.integers(0, 3)) if is_pale else 0):
                spot = (y, x) + self.random.normal(0, 0.25 * radius, size=2)
                box, share = self._shape(spot[0], spot[1], self.random.uniform(0.9, 1.5), 1.0, wobble=0.0)
                self.hematoxylin[box] += 0.8 * np.clip(share, 0, 1)

    def _outside(self, tumor: np.ndarray) -> Callable[[float, float], bool]:
        return lambda y, x: bool(self._at(tumor, y, x) < 0.3)

    def _at(self, field: np.ndarray, y: float, x: float) -> float:
        last = PATCH_SIZE * _OVERSAMPLING - 1
        row, column = (min(max(int(place * _OVERSAMPLING), 0), last) for place in (y, x))
        return float(field[row, column])

    def _places(
        self, number: int, radii: tuple[float, float], spread: float, is_allowed: Callable[[float, float], bool]
    ) -> list[tuple[float, float, float]]:
        """Draw places (y, x, radius) that keep ``spread`` times their radii from the nuclei placed so far."""
        found: list[tuple[float, float, float]] = []
        for _ in range(6 * number):
            y, x = (float(place) for place in self.random.uniform(-4, PATCH_SIZE + 4, size=2))
            radius = float(self.random.uniform(*radii))
            if not is_allowed(y, x):
                continue
            if any(math.hypot(y - v, x - u) < spread * (radius + other) for v, u, other in self._placed):
                continue
            self._placed.append((y, x, radius))
            found.append((y, x, radius))
            if len(found) == number:
                break
        return found

    def _add_nucleus(
        self,
        y: float,
        x: float,
        radius: float,
        stretch: float,
        turn: float,
        wobble: float,
        darkness: float,
        rim: float = 0.12,
        chromatin: float = 0.06,
    ) -> None:
        box, share = self._shape(y, x, radius, stretch, wobble, turn)
        noise = self.random.standard_normal(share.shape, dtype=np.float32)
        grain = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 2
        inside = np.clip(share - 1, 0, 1)  # a pixel and more below the outline
        amount = darkness * (1 - rim * inside + chromatin * grain)
        covered = np.clip(share, 0, 1)
        self.hematoxylin[box] += covered * (amount - self.hematoxylin[box])
        self.eosin[box] += covered * (0.42 - self.eosin[box])
        self.nuclei[box] = np.maximum(self.nuclei[box], covered)

    def _shape(
        self, y: float, x: float, radius: float, stretch: float, wobble: float, turn: float = 0.0
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """Return the box around an uneven ellipse, and in it the depth below the outline: above 1 well inside."""
        reach = radius * stretch * (1 + 3 * wobble) + 1
        size = PATCH_SIZE * _OVERSAMPLING
        box = (
            slice(*(min(max(int(edge * _OVERSAMPLING), 0), size) for edge in (y - reach, y + reach + 1))),
            slice(*(min(max(int(edge * _OVERSAMPLING), 0), size) for edge in (x - reach, x + reach + 1))),
        )
        down, right = self.y[box] - y, self.x[box] - x
        long = (right * np.cos(turn) + down * np.sin(turn)) / np.sqrt(stretch)
        short = (down * np.cos(turn) - right * np.sin(turn)) * np.sqrt(stretch)
        angle = np.arctan2(short, long)
        outline = np.ones_like(angle)
        for waves in (2, 3, 5):
            phase, height = self.random.uniform(0, 2 * np.pi), self.random.normal(0, wobble / np.sqrt(waves / 2))
            outline += height * np.cos(waves * angle + phase)
        depth = radius * outline - np.hypot(long, short)
        return box, np.clip(depth / 1.2 + 0.5, 0, 2)


def _stained(
    slide: np.random.Generator, random: np.random.Generator, hematoxylin: np.ndarray, eosin: np.ndarray
) -> np.ndarray:
    """Return the light that passes (Beer-Lambert), (96, 96, 3) uint8; a slide has its own stains and lamp."""
    density = np.zeros((3, *hematoxylin.shape), dtype=np.float32)
    for amount, colour, strength in ((hematoxylin, HEMATOXYLIN, (0.8, 1.15)), (eosin, EOSIN, (0.75, 1.25))):
        shade = np.clip(np.asarray(colour) + slide.normal(0, 0.05, size=3), 0.02, None)
        density += np.clip(amount, 0, None) * slide.uniform(*strength) * shade.astype(np.float32)[:, None, None]
    lamp = 255 * np.clip(slide.uniform(0.90, 0.98) + slide.normal(0, 0.012, size=3), 0, 1)
    light = np.stack([_reduced(channel) for channel in np.exp(-density)], axis=-1) * lamp
    light += 2.0 * random.standard_normal(light.shape, dtype=np.float32)
    return np.rint(np.clip(light, 0, 255)).astype(np.uint8)


def _reduced(field: np.ndarray) -> np.ndarray:
    """Average squares of the fine grid to the patch's pixels."""
    step = _OVERSAMPLING
    return np.add.reduce([field[row::step, column::step] for row in range(step) for column in range(step)]) / step**2


MAX_PATCHES = 100_000  # of a class and file
SOURCE = "phantom"


def write_histology_patches(
    output_dir: str | Path, num_normal: int, num_tumor: int, seed: int, show_progress: bool = True
) -> list[Path]:
    """Write phantom patches as Patch Camelyon has them, and return the paths of the files.

    ``camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5``, the three of differing slides, the classes mixed within
    each. A patch depends on ``seed``, its file, its class and its number among those of its class alone. Phantoms that
    are there already are replaced.

    Args:
        output_dir: folder to write to; ``dataset_dir`` for :class:`PatchCamelyonCases`.
        num_normal: patches without tumour in each of the three.
        num_tumor: patches with tumour in each of the three.
        seed: another one gives other slides.
        show_progress: whether a bar with the time left goes to stderr.

    Raises:
        ConfigError: a number is negative, or more than a hundred thousand patches of a class are asked for.
        OutputError: the folder is not writable, or holds patches that are no phantoms.
    """
    check_numbers({"num_normal": num_normal, "num_tumor": num_tumor, "seed": seed}, MAX_PATCHES)
    folder = ensure_writable_directory(output_dir)
    pairs = {split: PatchCamelyonFiles.of(folder, split) for split in SPLIT_FILES}
    paths = [path for files in pairs.values() for path in (files.x, files.y)]
    for path in paths:
        _check_replaceable(path)
    with tqdm(
        total=len(pairs) * (num_normal + num_tumor), desc="phantom patches", unit="patch", disable=not show_progress
    ) as bar:
        for split, files in pairs.items():
            order = np.random.default_rng(stream_seed(seed, "histology phantom order", split))
            labels = order.permutation([0] * num_normal + [1] * num_tumor).astype(int).tolist()
            files.write(labels, _drawn(seed, split, labels, bar), source=SOURCE)
    mark_phantoms(folder, "histopathology", seed)
    return paths


def _drawn(seed: int, split: str, labels: Sequence[int], bar: tqdm) -> Iterator[np.ndarray]:
    numbers = [0] * len(CLASSES)
    for label in labels:
        yield histology_phantom(seed, split, CLASSES[label], numbers[label]).image
        numbers[label] += 1
        bar.update()


def _check_replaceable(path: Path) -> None:
    if not path.is_file():
        return
    try:
        with h5py.File(path, "r") as file:
            is_phantom = file.attrs.get("source") == SOURCE
    except OSError:
        is_phantom = False
    if not is_phantom:
        raise OutputError(f"'{path}' holds patches that are no phantoms: choose another --output_dir")
