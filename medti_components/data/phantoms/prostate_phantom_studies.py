# SPDX-License-Identifier: Apache-2.0
"""Phantom prostate studies on disk, in the files, folders and tables of PI-CAI."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
from tqdm import tqdm

from medti_components.data.phantoms.prostate_anatomy import check_difficulty
from medti_components.data.phantoms.prostate_phantom import SLICE_THICKNESS_MM, ProstatePhantom, prostate_phantom
from medti_components.errors import ConfigError, OutputError
from medti_components.files import ensure_writable_directory, write_atomically, write_text_atomically
from medti_components.random_streams import stream_seed

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
    for key, value in (("num_negative", num_negative), ("num_positive", num_positive), ("seed", seed)):
        limit = 2**63 if key == "seed" else MAX_STUDIES
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
            raise ConfigError(f"{key} must be a whole number from 0 to {limit}, got {value!r}: correct --{key}")
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
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(row for _, row in sorted(rows.items()))
    write_text_atomically(folder / MARKSHEET, text.getvalue())
    return names


def _listed_phantoms(marksheet: Path, center: str) -> dict[int, dict[str, str]]:
    """Return the rows of a marksheet that phantoms were written beside before, by study."""
    if not marksheet.is_file():
        return {}
    with open(marksheet, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
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
