# SPDX-License-Identifier: Apache-2.0
"""Folders of CheXpert and NIH ChestX-ray14 whose images hold next to nothing."""

import csv
from pathlib import Path

from PIL import Image

from medti_components.data.datasets.chexpert import COLUMNS

NIH_COLUMNS = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "View Position")
FINDINGS = ("No Finding", "Cardiomegaly", "Pleural Effusion", "Pneumonia")


def chexpert_row(patient, view="AP", study=1, image=1, **values):
    """Return a row of a patient's image; values by the column's first word, 'no', 'cardiomegaly', 'pleural', ..."""
    named = {name.lower().split()[0]: name for name in FINDINGS}
    kind = "lateral" if view == "" else "frontal"
    path = f"CheXpert-v1.0-small/train/patient{patient:05d}/study{study}/view{image}_{kind}.jpg"
    row = dict.fromkeys(COLUMNS, "")
    row |= {"Path": path, "Sex": "Female", "Age": "50", "Frontal/Lateral": kind.capitalize(), "AP/PA": view}
    return row | {named[name]: f"{value:.1f}" for name, value in values.items()}


def write_chexpert(folder: Path, rows: list, with_images: bool = True) -> Path:
    """Write ``train.csv`` into ``folder``, and an image a row; the folder's name need not be CheXpert's."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "train.csv", "w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    for row in rows if with_images else ():
        path = folder / Path(row["Path"]).relative_to("CheXpert-v1.0-small")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (5, 4), 90).save(path)
    return folder


def write_nih(folder: Path, rows: list, image_folder: str = "images") -> Path:
    """Write ``Data_Entry_2017.csv`` of (image, findings, patient, view), and the images into ``image_folder``."""
    (folder / image_folder).mkdir(parents=True, exist_ok=True)
    with open(folder / "Data_Entry_2017.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(NIH_COLUMNS)
        table.writerows([[image, findings, 0, patient, 50, view] for image, findings, patient, view in rows])
    for image, *_ in rows:
        Image.new("L", (4, 4), 90).save(folder / image_folder / image)
    return folder
