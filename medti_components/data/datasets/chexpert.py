# SPDX-License-Identifier: Apache-2.0
"""The frontal images of a CheXpert download as a datalist, by concept and split."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medti_components.data.datasets.radiographs import Radiograph, radiograph_datalist
from medti_components.data.datasets.split_sizes import SplitSizes
from medti_components.data.datasets.table_file import table_rows
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

_EXPECTED = f"CheXpert's {TABLE}"


def chexpert_datalist(
    dataset_dir: str | Path,
    concepts: Sequence[str],
    num_cases: int,
    num_validation_cases: int,
    seed: int,
    split: str,
    views: Sequence[str] = ("AP",),
    skip_unreadable: bool = False,
    num_test_cases: int | None = None,
    single_finding: bool = True,
    several_findings: bool = False,
) -> list[dict[str, Any]]:
    """List the images of one split, ``num_cases`` of each concept for training, all images of a patient in one split.

    An image counts for a concept when the concept's finding is 1 in the table; none of the four findings may be
    uncertain (-1), nor, by default, another of the four positive. See :func:`radiograph_datalist`.

    Args:
        dataset_dir: folder with ``train.csv``, or the folder above it.
        concepts: tokens that end in ``no_finding>``, ``cardiomegaly>``, ``pleural_effusion>`` or ``pneumonia>``.
        num_cases: training images of each concept.
        num_validation_cases: validation images of each concept.
        seed: decides who is in which split.
        split: 'training', 'validation' or 'test'.
        views: 'AP', 'PA' or both.
        skip_unreadable: leave out images whose file is missing, and log them.
        num_test_cases: test images of each concept; all that are left where None.
        single_finding: leave out images with more than one of the four findings.
        several_findings: list images with at least two of the diseases instead, ``num_cases`` in all.

    Returns:
        entries with the path image, label, findings, view, concept, patient_id, study_id; no label with several
        findings.

    Raises:
        ConfigError: a key does not fit.
        DataError: the data set or an image is missing, or there are fewer images than asked for.
    """
    sizes = SplitSizes(num_cases, num_validation_cases, num_test_cases, split)
    radiographs = read_chexpert(dataset_dir)
    return radiograph_datalist(
        radiographs,
        dataset_dir,
        concepts,
        sizes,
        seed,
        views,
        skip_unreadable,
        single_finding=single_finding,
        several_findings=several_findings,
    )


def read_chexpert(dataset_dir: str | Path) -> list[Radiograph]:
    """Read the rows of ``train.csv`` whose images are frontal.

    ``Path`` is something like ``CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg``; its first part is
    taken for the folder of the table, whatever the folder's name is now.

    Raises:
        DataError: there is no table, it is unreadable, or it lacks a column.
    """
    table_path = _table(Path(dataset_dir))
    needed = ("Path", "Frontal/Lateral", "AP/PA", *COLUMNS_OF_FINDINGS)
    rows = table_rows(table_path, needed, "download CheXpert's table again")
    return [_radiograph(row, table_path) for row in rows if row["Frontal/Lateral"] == "Frontal"]


def _table(dataset_dir: Path) -> Path:
    """Return the table in ``dataset_dir``, or in the one folder in it that has one."""
    if not dataset_dir.is_dir():
        raise DataError(f"dataset_dir '{dataset_dir}' does not exist: set --dataset_dir to a folder with {_EXPECTED}")
    if (dataset_dir / TABLE).is_file():
        return dataset_dir / TABLE
    tables = sorted(dataset_dir.glob(f"*/{TABLE}"))
    if not tables:
        raise DataError(
            f"dataset_dir '{dataset_dir}' has no '{TABLE}': set --dataset_dir to a folder with {_EXPECTED}, or "
            "--dataset_format nih for NIH ChestX-ray14"
        )
    if len(tables) > 1:
        folders = " and ".join(f"'{table.parent.name}'" for table in tables)
        raise DataError(f"dataset_dir '{dataset_dir}' has a '{TABLE}' in {folders}: set --dataset_dir to one of them")
    return tables[0]


def _radiograph(row: dict[str, str], table_path: Path) -> Radiograph:
    inside = row["Path"].split("/")[1:]  # train, patient00001, study1, view1_frontal.jpg
    if len(inside) < 3:
        raise DataError(f"'{table_path}' has the Path '{row['Path']}': download CheXpert's table again")
    values = {finding: _value(row[column], column, table_path) for column, finding in COLUMNS_OF_FINDINGS.items()}
    return Radiograph(
        path="/".join([str(table_path.parent), *inside]),
        patient_id=inside[-3],
        study_id="_".join(inside[-3:]).rpartition(".")[0],
        view=row["AP/PA"],
        findings=frozenset(finding for finding, value in values.items() if value == 1),
        uncertain=frozenset(finding for finding, value in values.items() if value == -1),
    )


def _value(text: str | None, column: str, table_path: Path) -> int | None:
    """Return 1, 0, -1, or None for a blank."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 2
    if value not in (1, 0, -1):
        raise DataError(f"'{table_path}' has '{text}' in column '{column}', must be 1, 0, -1 or blank: correct it")
    return int(value)
