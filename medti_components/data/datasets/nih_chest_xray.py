# SPDX-License-Identifier: Apache-2.0
"""The images of a download of NIH ChestX-ray14."""

from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path

from medti_components.data.datasets.radiographs import VIEWS, Radiograph, only_table
from medti_components.data.datasets.tables import (
    CaseCounts,
    TableRow,
    check_distinct,
    meaning_of,
    plain_text,
    table_rows,
)
from medti_components.errors import DataError

NAMES_OF_FINDINGS = {
    "No Finding": "no_finding",
    "Cardiomegaly": "cardiomegaly",
    "Effusion": "pleural_effusion",
    "Pneumonia": "pneumonia",
}
OTHER_FINDINGS = (
    "Atelectasis",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumothorax",
)
TABLES = ("Data_Entry_*.csv", "labels.csv")

_MEANINGS: dict[str, str | None] = {**NAMES_OF_FINDINGS, **dict.fromkeys(OTHER_FINDINGS)}
_EXPECTED = "NIH ChestX-ray14's Data_Entry_2017.csv"
_COLUMNS = {"image": "Image Index", "findings": "Finding Labels", "patient": "Patient ID", "view": "View Position"}
_COLUMNS_OF_EXCERPTS = {"image": "path", "findings": "finding_labels", "patient": "patient_id", "view": "view"}


def read_nih_chest_xray(dataset_dir: str | Path, key: str = "dataset_dir") -> tuple[list[Radiograph], CaseCounts]:
    """Read the rows of the table that have labels; these know no uncertainty.

    Args:
        dataset_dir: folder with ``Data_Entry_2017.csv`` or ``Data_Entry_2017_v2020.csv``, or one of the two where both
            are there. Images are in ``images/`` or ``images_001/images/`` and so on beside it. An excerpt may have a
            ``labels.csv`` instead, with the columns path (relative to its folder), finding_labels, view and patient_id.
        key: the config key that it comes from, for messages.

    Raises:
        DataError: there is no table, it is unreadable, lacks a column, or holds a finding or a view that NIH's does
            not have.
    """
    table_path = _table(Path(dataset_dir), key)
    folder = table_path.parent
    columns: Mapping[str, str] = _COLUMNS_OF_EXCERPTS if table_path.name == TABLES[1] else _COLUMNS
    table = table_rows(table_path, columns.values(), "download NIH's table again")
    check_distinct(table, itemgetter(columns["image"]))
    counts = CaseCounts(table_path, len(table))
    remedy = f"fill in '{columns['findings']}' in '{table_path}'"
    rows = counts.keep(table, "with labels", remedy, lambda row: bool(row[columns["findings"]].strip()))
    remedy = f"fill in '{columns['patient']}' in '{table_path}'"
    rows = counts.keep(rows, "with a patient", remedy, lambda row: bool(row[columns["patient"]].strip()))
    # the twelve archives unpack each beside the others
    folders = (*sorted(folder.glob("images")), *sorted(folder.glob("images_*/images")), folder)
    return [
        Radiograph(
            folders=folders,
            path=row[columns["image"]],
            patient_id=plain_text(row[columns["patient"]]),
            study_id=Path(row[columns["image"]]).stem,
            view=row.meaning(columns["view"], {view: view for view in VIEWS}) or "",
            findings=_findings(row, columns["findings"]),
        )
        for row in rows
    ], counts


def _findings(row: TableRow, column: str) -> frozenset[str]:
    names = row[column].split("|")
    found = [meaning_of(name, _MEANINGS, f"{row.place} has '{name}' in column '{column}'") for name in names]
    return frozenset(finding for finding in found if finding)


def _table(dataset_dir: Path, key: str) -> Path:
    """Return ``dataset_dir`` where it is a file, else the one table in it."""
    if dataset_dir.is_file():
        return dataset_dir
    if not dataset_dir.is_dir():
        raise DataError(f"{key} '{dataset_dir}' does not exist: set --{key} to a folder with {_EXPECTED}")
    tables = [path for pattern in TABLES for path in sorted(dataset_dir.glob(pattern))]
    if not tables:
        raise DataError(
            f"{key} '{dataset_dir}' has no '{TABLES[0]}' or '{TABLES[1]}': set --{key} to a folder with "
            f"{_EXPECTED}, or --dataset_format chexpert for CheXpert"
        )
    return only_table(tables, key)
