# SPDX-License-Identifier: Apache-2.0
"""The frontal images of a CheXpert download."""

from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path, PurePosixPath

from medti_components.data.datasets.radiographs import VIEWS, Radiograph, only_table
from medti_components.data.datasets.tables import CaseCounts, TableRow, check_distinct, table_rows
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

    ``Path`` is something like ``CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg``. What stands before
    the patient does not matter: patients are looked for beside the table, in ``train/`` or ``valid/`` beside it, and in
    the folders of the batches that the full-size images come in, ``CheXpert-v1.0 batch 2 (train 1)/`` and so on.

    Args:
        dataset_dir: folder with ``train.csv``, or the folder above it, or another table with the same columns.
        key: the config key that it comes from, for messages.

    Raises:
        DataError: there is no table, it is unreadable, lacks a column, or holds a value that CheXpert does not have.
    """
    table_path = _table(Path(dataset_dir), key)
    needed = ("Path", "Frontal/Lateral", "AP/PA", *COLUMNS_OF_FINDINGS)
    rows = table_rows(table_path, needed, "download CheXpert's table again")
    check_distinct(rows, itemgetter("Path"))
    counts = CaseCounts(table_path, len(rows))
    remedy = "give a table with frontal images"
    frontal = counts.keep(rows, "frontal", remedy, lambda row: bool(row.meaning("Frontal/Lateral", DIRECTIONS)))
    roots = _roots(table_path.parent)
    return [_radiograph(row, roots) for row in frontal], counts


def _table(dataset_dir: Path, key: str) -> Path:
    """Return ``dataset_dir`` where it is a file, the table in it, or that in the one folder in it that has one."""
    if dataset_dir.is_file():
        return dataset_dir
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
    return only_table(tables, key)


def _roots(folder: Path) -> tuple[Path, ...]:
    """Return the folder of the table, and those of the batches beside it or, where it is in one, around it."""
    above = folder.resolve().parent if _is_batch(folder.resolve()) else folder
    return (folder, *sorted(path for path in above.iterdir() if _is_batch(path) and path != folder.resolve()))


def _is_batch(path: Path) -> bool:
    return path.is_dir() and "batch" in path.name


def _radiograph(row: TableRow, roots: Sequence[Path]) -> Radiograph:
    parts = PurePosixPath(
        row["Path"].replace("\\", "/")
    ).parts  # CheXpert-v1.0-small, train, patient00001, study1, view1_frontal.jpg
    if len(parts) < 3:
        raise DataError(f"{row.place} has the Path '{row['Path']}': download CheXpert's table again")
    split = parts[-4:-3]  # train or valid
    values = {finding: row.meaning(column, _LABELS) for column, finding in COLUMNS_OF_FINDINGS.items()}
    return Radiograph(
        folders=tuple(folder for root in roots for folder in (root.joinpath(*split), root)),
        path="/".join(parts[-3:]),
        patient_id=parts[-3],
        study_id="_".join(parts[-3:]).rpartition(".")[0],
        view=row.meaning("AP/PA", {view: view for view in VIEWS_OF_TABLE}) or "",
        findings=frozenset(finding for finding, value in values.items() if value == 1),
        uncertain=frozenset(finding for finding, value in values.items() if value == -1),
    )
