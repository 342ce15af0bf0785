# SPDX-License-Identifier: Apache-2.0
"""Small PI-CAI folders: crafted ones of a few voxels, and phantom studies."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from monai.bundle import ConfigParser

from medti_components.data.prostate_phantom_studies import write_prostate_studies

LABELS = Path("picai_labels")
LESIONS = LABELS / "csPCa_lesion_delineations"
GLANDS = LABELS / "anatomical_delineations" / "whole_gland" / "AI"
MARKSHEET = LABELS / "clinical_information" / "marksheet.csv"
BUNDLE = Path(__file__).parents[2] / "bundles" / "prostate_mri_textual_inversion"


@dataclass
class CraftedStudy:
    """A study whose files hold next to nothing; each of the folders of ``lesions`` gets a mask of that value."""

    patient_id: str
    study_id: str
    is_positive: bool
    lesions: dict[str, int] = field(default_factory=dict)
    glands: tuple[str, ...] = ("Bosma22b",)
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


@pytest.fixture
def crafted_picai(tmp_path: Path) -> Callable[[list[CraftedStudy]], Path]:
    return lambda studies: write_crafted_picai(tmp_path / "picai", studies)


@pytest.fixture(scope="session")
def phantom_picai(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of three negative and three positive phantom studies of seed 0. Read only."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_prostate_studies(folder, num_negative=3, num_positive=3, seed=0, show_progress=False)
    return folder


@pytest.fixture
def preprocessing() -> Callable[..., Any]:
    """Build the bundle's preprocessing for an image size and sequences."""

    def build(image_size: int = 64, sequences: tuple[str, ...] = ("t2w", "adc", "hbv")) -> Any:
        config = json.loads((BUNDLE / "configs" / "train.json").read_text())
        parser = ConfigParser(
            {"preprocessing": config["preprocessing"], "image_size": image_size, "sequences": list(sequences)}
        )
        return parser.get_parsed_content("preprocessing")

    return build
