# SPDX-License-Identifier: Apache-2.0
"""The frontal images of a CheXpert download."""

from pathlib import Path

from medti_components.data.datasets.radiographs import VIEWS, Radiograph
from medti_components.data.datasets.tables import CaseCounts, TableRow, table_rows
from medti_components.errors import DataError

TABLE = "train.csv"
COLUMNS_OF_FINDINGS = {
    "No Finding": "no_finding",
    "Cardiomegaly": "cardiomegaly",
    "Pleural Effusion": "pleural_effusion",
    "Pneumonia": "pneumonia",
}
COLUMNS = (
    "Path",
    "Sex",
    "Age",
    "Frontal/Lateral",
    "AP/PA",
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)

DIRECTIONS = {"Frontal": True, "Lateral": False}
VIEWS_OF_TABLE = (*VIEWS, "LL", "RL")

_LABELS = {"1": 1, "0": 0, "-1": -1}
_EXPECTED = f"CheXpert's {TABLE}"


def read_chexpert(dataset_dir: str | Path, key: str = "dataset_dir") -> tuple[list[Radiograph], CaseCounts]:
    """Read the rows of ``train.csv`` whose images are frontal.

    ``Path`` is something like ``CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg``; its first part is
    taken for the folder of the table, whatever the folder's name is now.

    Args:
        dataset_dir: folder with ``train.csv``, or the folder above it.
        key: the config key that it comes from, for messages.

    Raises:
        DataError: there is no table, it is unreadable, lacks a column, or holds a value that CheXpert does not have.
    """
    table_path = _table(Path(dataset_dir), key)
    needed = ("Path", "Frontal/Lateral", "AP/PA", *COLUMNS_OF_FINDINGS)
    rows = table_rows(table_path, needed, "download CheXpert's table again")
    counts = CaseCounts(table_path, len(rows))
    remedy = "give a table with frontal images"
    frontal = counts.keep(rows, "frontal", remedy, lambda row: bool(row.meaning("Frontal/Lateral", DIRECTIONS)))
    return [_radiograph(row, table_path) for row in frontal], counts


def _table(dataset_dir: Path, key: str) -> Path:
    """Return the table in ``dataset_dir``, or in the one folder in it that has one."""
    if not dataset_dir.is_dir():
        raise DataError(f"{key} '{dataset_dir}' does not exist: set --{key} to a folder with {_EXPECTED}")
    if (dataset_dir / TABLE).is_file():
        return dataset_dir / TABLE
    tables = sorted(dataset_dir.glob(f"*/{TABLE}"))
    if not tables:
        raise DataError(
            f"{key} '{dataset_dir}' has no '{TABLE}': set --{key} to a folder with {_EXPECTED}, or "
            "--dataset_format nih for NIH ChestX-ray14"
        )
    if len(tables) > 1:
        folders = " and ".join(f"'{table.parent.name}'" for table in tables)
        raise DataError(f"{key} '{dataset_dir}' has a '{TABLE}' in {folders}: set --{key} to one of them")
    return tables[0]


def _radiograph(row: TableRow, table_path: Path) -> Radiograph:
    inside = row["Path"].split("/")[1:]  # train, patient00001, study1, view1_frontal.jpg
    if len(inside) < 3:
        raise DataError(f"{row.place} has the Path '{row['Path']}': download CheXpert's table again")
    values = {finding: row.meaning(column, _LABELS) for column, finding in COLUMNS_OF_FINDINGS.items()}
    return Radiograph(
        folders=(table_path.parent,),
        path="/".join(inside),
        patient_id=inside[-3],
        study_id="_".join(inside[-3:]).rpartition(".")[0],
        view=row.meaning("AP/PA", {view: view for view in VIEWS_OF_TABLE}) or "",
        findings=frozenset(finding for finding, value in values.items() if value == 1),
        uncertain=frozenset(finding for finding, value in values.items() if value == -1),
    )
