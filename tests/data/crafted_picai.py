# SPDX-License-Identifier: Apache-2.0
"""PI-CAI folders whose files hold next to nothing."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK

LABELS = Path("picai_labels")
LESIONS = LABELS / "csPCa_lesion_delineations"
GLANDS = LABELS / "anatomical_delineations" / "whole_gland"
MARKSHEET = LABELS / "clinical_information" / "marksheet.csv"


@dataclass
class CraftedStudy:
    """A study whose files hold next to nothing; each of the folders of ``lesions`` gets a mask of that value."""

    patient_id: str
    study_id: str
    is_positive: bool
    lesions: dict[str, int] = field(default_factory=dict)
    glands: tuple[str, ...] = ("AI/Bosma22b",)
    sequences: tuple[str, ...] = ("t2w", "adc", "hbv")


def write_mask(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.full((1, 2, 2), value, np.uint8)), str(path))


def write_crafted_picai(folder: Path, studies: list[CraftedStudy]) -> Path:
    (folder / MARKSHEET).parent.mkdir(parents=True)
    with open(folder / MARKSHEET, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["patient_id", "study_id", "case_csPCa"])
        table.writerows([[s.patient_id, s.study_id, "YES" if s.is_positive else "NO"] for s in studies])
    (folder / "images").mkdir()
    for study in studies:
        name = f"{study.patient_id}_{study.study_id}"
        for sequence in study.sequences:
            path = folder / "images" / study.patient_id / f"{name}_{sequence}.mha"
            path.parent.mkdir(exist_ok=True)
            path.touch()
        for gland in study.glands:
            write_mask(folder / GLANDS / gland / f"{name}.nii.gz", 1)
        for subfolder, value in study.lesions.items():
            write_mask(folder / LESIONS / subfolder / f"{name}.nii.gz", value)
    return folder
