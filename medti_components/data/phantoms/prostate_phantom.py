# SPDX-License-Identifier: Apache-2.0
"""A phantom of the male pelvis as T2W, ADC and high-b volumes, drawn from a seed, and sets in PI-CAI's files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
from tqdm import tqdm

from medti_components.data.phantoms.phantom_marker import mark_phantoms
from medti_components.data.phantoms.phantom_set import (
    check_numbers,
    read_table,
    smooth_values,
    spline_weights,
)
from medti_components.data.phantoms.prostate_anatomy import (
    FAT,
    LESION,
    Anatomy,
    Ellipsoid,
    Grid,
    check_difficulty,
    draw_anatomy,
)
from medti_components.errors import OutputError
from medti_components.files import ensure_writable_directory, write_atomically, write_csv_atomically
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
    """Paint the organs on the grid, one volume per channel, later ones over earlier ones."""
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
    return smooth_values(random, rows, columns, (len(grid.s),))


def _stored(volume: np.ndarray, units: float) -> np.ndarray:
    """Clip to what the receiver takes, 0 to 1, and store in whole ``units``."""
    np.clip(volume, 0, 1, out=volume)
    volume *= np.float32(units)
    return np.rint(volume, out=volume).astype(np.int16)


LESION_FOLDER = Path("picai_labels/csPCa_lesion_delineations/human_expert/resampled")
GLAND_FOLDER = Path("picai_labels/anatomical_delineations/whole_gland/AI/Bosma22b")
MARKSHEET = Path("picai_labels/clinical_information/marksheet.csv")
CENTERS = {"default": "PHANTOM", "hard": "PHANTOM_HARD"}
COLUMNS = (
    "patient_id",
    "study_id",
    "mri_date",
    "patient_age",
    "psa",
    "psad",
    "prostate_volume",
    "histopath_type",
    "lesion_PIRADS",
    "lesion_GS",
    "lesion_ISUP",
    "case_ISUP",
    "case_csPCa",
    "center",
)
GLEASON_SCORES = {2: "3+4", 3: "4+3", 4: "4+4", 5: "4+5"}

MAX_STUDIES = 500_000
_SECOND_STUDY_EVERY = 25


@dataclass(frozen=True)
class PhantomStudyId:
    """Who a study belongs to; no two studies of any seeds share it.

    Every 25th study of a kind is the second one of the patient before it.

    Example:
        >>> PhantomStudyId.of(seed=0, index=3, is_positive=True)
        PhantomStudyId(patient_index=3, patient_id='1500003', study_id='15000030')
        >>> PhantomStudyId.of(seed=0, index=24, is_positive=False)
        PhantomStudyId(patient_index=23, patient_id='1000023', study_id='10000231')
    """

    patient_index: int
    patient_id: str
    study_id: str

    @classmethod
    def of(cls, seed: int, index: int, is_positive: bool) -> "PhantomStudyId":
        """Return the numbers of the study at ``index`` of its kind; they depend on the arguments alone."""
        is_second = index % _SECOND_STUDY_EVERY == _SECOND_STUDY_EVERY - 1
        patient_index = index - is_second
        patient = 2 * MAX_STUDIES * (seed + 1) + MAX_STUDIES * is_positive + patient_index
        return cls(patient_index, str(patient), str(10 * patient + is_second))


def write_prostate_studies(
    output_dir: str | Path,
    num_negative: int,
    num_positive: int,
    seed: int,
    show_progress: bool = True,
    difficulty: str = "default",
) -> list[str]:
    """Write phantom studies as PI-CAI has them, and return their names ``<patient>_<study>``.

    Under ``output_dir``: ``images/<patient>/<patient>_<study>_{t2w,adc,hbv}.mha`` (int16; T2W 0.5 x 0.5 x 3 mm, ADC and
    HBV 2 x 2 x 3 mm), the lesion (0, or ISUP grade 2 to 5) and gland masks as .nii.gz, and the marksheet. A study
    depends on ``seed`` and its index among those of its kind alone. Phantom studies that are there already stay.
    ``difficulty`` 'hard' draws small, at times faint lesions among benign look-alikes; the marksheet's
    ``center`` tells it.

    Raises:
        ConfigError: a number is negative, more than half a million studies are asked for, or the difficulty is unknown.
        OutputError: the folder is not writable, or holds studies of patients or of another difficulty.
    """
    check_numbers({"num_negative": num_negative, "num_positive": num_positive, "seed": seed}, MAX_STUDIES)
    check_difficulty(difficulty)
    folder = ensure_writable_directory(output_dir)
    rows = _listed_phantoms(folder / MARKSHEET, CENTERS[difficulty])
    kinds = [(index, False) for index in range(num_negative)] + [(index, True) for index in range(num_positive)]
    names = []
    for index, is_positive in tqdm(kinds, desc="phantom studies", unit="study", disable=not show_progress):
        identity = PhantomStudyId.of(seed, index, is_positive)
        phantom = prostate_phantom(seed, index, is_positive, identity.patient_index, difficulty)
        name = f"{identity.patient_id}_{identity.study_id}"
        _write_volumes(folder, identity.patient_id, name, phantom, seed)
        rows[int(identity.study_id)] = _marksheet_row(identity, phantom, seed, CENTERS[difficulty])
        names.append(name)
    write_csv_atomically(
        folder / MARKSHEET, COLUMNS, ([row[name] for name in COLUMNS] for _, row in sorted(rows.items()))
    )
    mark_phantoms(folder, "prostate_mri", seed)
    return names


def _listed_phantoms(marksheet: Path, center: str) -> dict[int, dict[str, str]]:
    """Return the rows of a marksheet that phantoms were written beside before, by study."""
    rows = read_table(marksheet)
    centers = {row.get("center") for row in rows}
    if centers <= {*CENTERS.values()} and not centers <= {center}:
        raise OutputError(f"'{marksheet}' lists phantoms of another difficulty: choose another --output_dir")
    if not centers <= {center}:
        raise OutputError(f"'{marksheet}' lists studies that are no phantoms: choose another --output_dir")
    return {int(row["study_id"]): row for row in rows}


def _write_volumes(folder: Path, patient_id: str, name: str, phantom: ProstatePhantom, seed: int) -> None:
    random = np.random.default_rng(stream_seed(seed, "prostate phantom position", name))
    tilt = float(random.uniform(0.0, 0.3))  # axial slices are set at right angles to the rectal wall
    direction = np.array([[1, 0, 0], [0, math.cos(tilt), math.sin(tilt)], [0, -math.sin(tilt), math.cos(tilt)]])
    centre_mm = random.uniform(-20, 20, size=3)
    shift_y, shift_x = phantom.shift_mm
    images = folder / "images" / patient_id
    for array, path, spacing_mm, shift_mm in (
        (phantom.t2w, images / f"{name}_t2w.mha", 0.5, (0.0, 0.0)),
        (phantom.adc, images / f"{name}_adc.mha", 2.0, (shift_x, shift_y)),
        (phantom.hbv, images / f"{name}_hbv.mha", 2.0, (shift_x, shift_y)),
        (phantom.gland, folder / GLAND_FOLDER / f"{name}.nii.gz", 0.5, (0.0, 0.0)),
        (phantom.lesion, folder / LESION_FOLDER / f"{name}.nii.gz", 0.5, (0.0, 0.0)),
    ):
        volume = SimpleITK.GetImageFromArray(array)
        spacing = np.array([spacing_mm, spacing_mm, SLICE_THICKNESS_MM])
        first_voxel = np.array([*shift_mm, 0.0]) - spacing * (np.array(volume.GetSize()) - 1) / 2
        volume.SetSpacing(spacing.tolist())
        volume.SetDirection(direction.flatten().tolist())
        volume.SetOrigin((centre_mm + direction @ first_voxel).tolist())
        with write_atomically(path) as temporary:
            SimpleITK.WriteImage(volume, str(temporary), useCompression=path.suffix == ".gz", compressionLevel=1)


def _marksheet_row(identity: PhantomStudyId, phantom: ProstatePhantom, seed: int, center: str) -> dict[str, str]:
    random = np.random.default_rng(stream_seed(seed, "prostate phantom marksheet", identity.study_id))
    volume_ml = float(phantom.gland.sum()) * 0.5 * 0.5 * SLICE_THICKNESS_MM / 1000
    psa = float(random.uniform(4, 20 if phantom.isup_grade else 10))
    is_positive = phantom.isup_grade >= 2
    date = f"20{random.integers(12, 22)}-{random.integers(1, 13):02d}-{random.integers(1, 29):02d}"
    return {
        "patient_id": identity.patient_id,
        "study_id": identity.study_id,
        "mri_date": date,
        "patient_age": str(random.integers(50, 80)),
        "psa": f"{psa:.1f}",
        "psad": f"{psa / volume_ml:.2f}",
        "prostate_volume": f"{volume_ml:.0f}",
        "histopath_type": "MRBx" if is_positive else "",
        "lesion_PIRADS": str(random.integers(4, 6)) if is_positive else "",
        "lesion_GS": GLEASON_SCORES.get(phantom.isup_grade, ""),
        "lesion_ISUP": str(phantom.isup_grade) if is_positive else "",
        "case_ISUP": str(phantom.isup_grade),
        "case_csPCa": "YES" if is_positive else "NO",
        "center": center,
    }
