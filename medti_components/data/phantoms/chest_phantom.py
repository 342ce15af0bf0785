# SPDX-License-Identifier: Apache-2.0
"""A phantom of a frontal chest radiograph, drawn from a seed, and sets in CheXpert's files."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from tqdm import tqdm

from medti_components.data.datasets.chexpert import COLUMNS, COLUMNS_OF_FINDINGS, TABLE
from medti_components.data.datasets.radiographs import FINDINGS
from medti_components.data.phantoms.chest_anatomy import (
    LEFT,
    RIGHT,
    ChestAnatomy,
    Ellipse,
    PlaneGrid,
    bones,
    draw_chest_anatomy,
    soft,
    vessels,
)
from medti_components.data.phantoms.phantom_marker import mark_phantoms
from medti_components.data.phantoms.phantom_set import (
    check_numbers,
    read_table,
    smooth_values,
    spline_weights,
)
from medti_components.errors import ConfigError, OutputError
from medti_components.files import ensure_writable_directory, write_atomically, write_csv_atomically
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
    image += lungs * vessels(random, anatomy, grid)
    image = _over(image, 0.85 * opacity, CONSOLIDATION)
    image = _over(image, 0.96 * effusion, FLUID)
    image = _over(image, 0.94 * heart, HEART)
    image += bones(random, anatomy, grid, view) * (1 - 0.6 * np.maximum(heart, effusion))
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
    return smooth_values(random, rows, columns)


FOLDER = "CheXpert-v1.0-phantom"
DISEASES = FINDINGS[1:]
OTHER_KINDS = ("several_findings", "other_view", "uncertain")
MAX_IMAGES = 100_000  # of a kind

_KINDS = (*FINDINGS, *OTHER_KINDS)
_SECOND_STUDY_EVERY = 10
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class PhantomCase:
    """One image to be drawn: the kind of case, its number among those, what it shows and what the table says.

    Every tenth image of a kind is the second study of the patient before it.
    """

    kind: str
    index: int
    patient_index: int
    patient_id: str
    study: int
    view: str
    findings: tuple[str, ...]
    labels: Mapping[str, float]

    @classmethod
    def of(cls, seed: int, kind: str, index: int) -> "PhantomCase":
        """Return the case at ``index`` of its kind; it depends on the arguments alone.

        >>> case = PhantomCase.of(seed=0, kind="pneumonia", index=9)
        >>> case.patient_id, case.study, case.view, case.findings
        ('patient1300008', 2, 'AP', ('pneumonia',))
        """
        is_second = index % _SECOND_STUDY_EVERY == _SECOND_STUDY_EVERY - 1
        patient_index = index - is_second
        number = 10 * MAX_IMAGES * (seed + 1) + MAX_IMAGES * _KINDS.index(kind) + patient_index
        random = np.random.default_rng(stream_seed(seed, "chest phantom case", kind, patient_index))
        shown, labels = _findings(random, kind)
        view = "PA" if kind == "other_view" else "AP"
        return cls(kind, index, patient_index, f"patient{number}", 1 + is_second, view, shown, labels)

    @property
    def path(self) -> str:
        """Where the image lies, as in the column Path."""
        return f"{FOLDER}/train/{self.patient_id}/study{self.study}/view1_frontal.jpg"

    def phantom(self, seed: int) -> ChestPhantom:
        """Draw the image."""
        return chest_phantom(seed, self.kind, self.index, self.findings, self.view, self.patient_index)


def _findings(random: np.random.Generator, kind: str) -> tuple[tuple[str, ...], dict[str, float]]:
    """Return the diseases that are shown, and the values of the findings' columns in the table."""
    if kind in FINDINGS:
        shown: tuple[str, ...] = (kind,) if kind in DISEASES else ()
        return shown, {kind: 1.0}
    if kind == "several_findings":
        chosen = random.permutation(DISEASES)[: int(random.integers(2, 4))].tolist()
        shown = tuple(name for name in DISEASES if name in chosen)
        return shown, dict.fromkeys(shown, 1.0)
    if kind == "other_view":
        name = str(random.choice(FINDINGS))
        return ((name,) if name in DISEASES else ()), {name: 1.0}
    first, second = random.permutation(DISEASES)[:2].tolist()
    shown = (first, second) if random.random() < 0.5 else (first,)
    return shown, {first: 1.0, second: -1.0}


def write_chest_studies(
    output_dir: str | Path,
    num_of_findings: Mapping[str, int],
    seed: int,
    share_of_others: float = 0.25,
    show_progress: bool = True,
) -> list[str]:
    """Write phantom radiographs as CheXpert has them, and return their paths relative to ``output_dir``.

    Under ``output_dir/CheXpert-v1.0-phantom``: ``train/<patient>/study<n>/view1_frontal.jpg`` and ``train.csv``. A case
    depends on ``seed``, its kind and its number among those of its kind alone. Phantoms that are there already stay.

    Args:
        output_dir: folder to write to; ``dataset_dir`` for :class:`RadiographCases`.
        num_of_findings: how many AP images show each of :data:`FINDINGS`, and none of the others.
        seed: another one gives other patients, with other numbers.
        share_of_others: further images, as a share of those: with several findings, in PA view, and with an uncertain
            finding, by turns.
        show_progress: whether a bar with the time left goes to stderr.

    Raises:
        ConfigError: a number is negative, or more than a hundred thousand images of a kind are asked for.
        OutputError: the folder is not writable, or its table lists patients.
    """
    cases = _cases(num_of_findings, seed, share_of_others)
    folder = ensure_writable_directory(output_dir)
    table_path = folder / FOLDER / TABLE
    rows = _listed_phantoms(table_path)
    for case in tqdm(cases, desc="phantom radiographs", unit="image", disable=not show_progress):
        phantom = case.phantom(seed)
        with write_atomically(folder / case.path) as temporary:
            Image.fromarray(phantom.image).save(temporary, format="JPEG", quality=_JPEG_QUALITY)
        rows[case.path] = _row(case, phantom, seed)
    write_csv_atomically(table_path, COLUMNS, ([row[name] for name in COLUMNS] for _, row in sorted(rows.items())))
    mark_phantoms(folder, "chest_xray", seed)
    return [case.path for case in cases]


def _cases(num_of_findings: Mapping[str, int], seed: int, share_of_others: float) -> list[PhantomCase]:
    check_numbers({f"num_{name}": number for name, number in num_of_findings.items()} | {"seed": seed}, MAX_IMAGES)
    if isinstance(share_of_others, bool) or not 0 <= share_of_others <= 1:
        raise ConfigError(
            f"share_of_others must be a number from 0 to 1, got {share_of_others!r}: correct --share_of_others"
        )
    num_of_kinds = {**num_of_findings, **dict.fromkeys(OTHER_KINDS, 0)}
    for index in range(round(share_of_others * sum(num_of_findings.values()))):
        num_of_kinds[OTHER_KINDS[index % len(OTHER_KINDS)]] += 1
    return [PhantomCase.of(seed, kind, index) for kind, number in num_of_kinds.items() for index in range(number)]


def _listed_phantoms(table_path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a table that phantoms were written beside before, by path."""
    rows = read_table(table_path)
    if any(PurePosixPath(row.get("Path") or "").parts[:1] != (FOLDER,) for row in rows):
        raise OutputError(f"'{table_path}' lists images that are no phantoms: choose another --output_dir")
    return {row["Path"]: row for row in rows}


def _row(case: PhantomCase, phantom: ChestPhantom, seed: int) -> dict[str, str]:
    """Return the row of the table; most of what is not shown is blank there, as in CheXpert, some of it 0."""
    random = np.random.default_rng(stream_seed(seed, "chest phantom table", case.kind, case.index))
    patient = np.random.default_rng(stream_seed(seed, "chest phantom patient", case.kind, case.patient_index))
    row = dict.fromkeys(COLUMNS, "")
    row |= {
        "Path": case.path,
        "Sex": "Female" if phantom.is_female else "Male",
        "Age": str(patient.integers(18, 91)),
        "Frontal/Lateral": "Frontal",
        "AP/PA": case.view,
        "Support Devices": "1.0" if phantom.has_devices else "",
    }
    for column, name in COLUMNS_OF_FINDINGS.items():
        absent = "0.0" if name in DISEASES and random.random() < 0.15 else ""
        row[column] = f"{case.labels[name]:.1f}" if name in case.labels else absent
    if "pneumonia" in case.findings:
        row["Lung Opacity"] = "1.0"
    return row
