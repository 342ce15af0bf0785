# SPDX-License-Identifier: Apache-2.0
"""The images of a download of NIH ChestX-ray14."""

from collections.abc import Mapping
from pathlib import Path

from medti_components.data.datasets.file_readers import table_rows
from medti_components.data.datasets.radiographs import Radiograph
from medti_components.errors import DataError

NAMES_OF_FINDINGS = {
    "No Finding": "no_finding",
    "Cardiomegaly": "cardiomegaly",
    "Effusion": "pleural_effusion",
    "Pneumonia": "pneumonia",
}
TABLES = ("Data_Entry_*.csv", "labels.csv")

_EXPECTED = "NIH ChestX-ray14's Data_Entry_2017.csv"
_COLUMNS = {"image": "Image Index", "findings": "Finding Labels", "patient": "Patient ID", "view": "View Position"}
_COLUMNS_OF_EXCERPTS = {"image": "path", "findings": "finding_labels", "patient": "patient_id", "view": "view"}


def read_nih_chest_xray(dataset_dir: str | Path, key: str = "dataset_dir") -> list[Radiograph]:
    """Read the table of images; the labels know no uncertainty.

    Args:
        dataset_dir: folder with ``Data_Entry_2017.csv`` (or ``_v2020``) and the images in ``images/`` or
            ``images_001/images/`` and so on. An excerpt may have a ``labels.csv`` instead, with the columns path
            (relative to ``dataset_dir``), finding_labels, view and patient_id.
        key: the config key that it comes from, for messages.

    Raises:
        DataError: there is no table, it is unreadable, or it lacks a column.
    """
    folder = Path(dataset_dir)
    table_path = _table(folder, key)
    columns: Mapping[str, str] = _COLUMNS_OF_EXCERPTS if table_path.name == TABLES[1] else _COLUMNS
    table = table_rows(table_path, columns.values(), "download NIH's table again")
    rows = [{key: row[column] for key, column in columns.items()} for row in table]
    # the twelve archives unpack each beside the others
    folders = (folder, *sorted(folder.glob("images")), *sorted(folder.glob("images_*/images")))
    return [
        Radiograph(
            folders=folders,
            path=row["image"],
            patient_id=row["patient"],
            study_id=Path(row["image"]).stem,
            view=row["view"],
            findings=frozenset(
                NAMES_OF_FINDINGS[name] for name in row["findings"].split("|") if name in NAMES_OF_FINDINGS
            ),
        )
        for row in rows
    ]


def _table(dataset_dir: Path, key: str) -> Path:
    if not dataset_dir.is_dir():
        raise DataError(f"{key} '{dataset_dir}' does not exist: set --{key} to a folder with {_EXPECTED}")
    tables = [path for pattern in TABLES for path in sorted(dataset_dir.glob(pattern))]
    if not tables:
        raise DataError(
            f"{key} '{dataset_dir}' has no '{TABLES[0]}' or '{TABLES[1]}': set --{key} to a folder with "
            f"{_EXPECTED}, or --dataset_format chexpert for CheXpert"
        )
    return tables[0]
