# SPDX-License-Identifier: Apache-2.0
"""The images of a download of NIH ChestX-ray14 as a datalist, by concept and split."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medti_components.data.datasets.radiographs import Radiograph, radiograph_datalist
from medti_components.data.datasets.split_sizes import SplitSizes
from medti_components.data.datasets.table_file import table_rows
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


def nih_chest_xray_datalist(
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
    """List the images of one split, as :func:`chexpert_datalist` does; the labels know no uncertainty.

    ``dataset_dir`` holds ``Data_Entry_2017.csv`` (or ``_v2020``) and the images in ``images/`` or
    ``images_001/images/`` and so on. An excerpt may have a ``labels.csv`` instead, with the columns path (relative to
    ``dataset_dir``), finding_labels, view and patient_id.

    Raises:
        ConfigError: a key does not fit.
        DataError: the data set or an image is missing, or there are fewer images than asked for.
    """
    sizes = SplitSizes(num_cases, num_validation_cases, num_test_cases, split)
    radiographs = read_nih_chest_xray(dataset_dir)
    folders = [Path(dataset_dir), *sorted(Path(dataset_dir).glob("images")), *_archives(Path(dataset_dir))]

    def located(radiograph: Radiograph) -> Path:
        places = [folder / radiograph.path for folder in folders]
        return next((place for place in places if place.is_file()), places[-1])

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
        located=located,
    )


def read_nih_chest_xray(dataset_dir: str | Path) -> list[Radiograph]:
    """Read the table of images; a radiograph's path is as the table has it.

    Raises:
        DataError: there is no table, it is unreadable, or it lacks a column.
    """
    table_path = _table(Path(dataset_dir))
    columns: Mapping[str, str] = _COLUMNS_OF_EXCERPTS if table_path.name == TABLES[1] else _COLUMNS
    table = table_rows(table_path, columns.values(), "download NIH's table again")
    rows = [{key: row[column] for key, column in columns.items()} for row in table]
    return [
        Radiograph(
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


def _table(dataset_dir: Path) -> Path:
    if not dataset_dir.is_dir():
        raise DataError(f"dataset_dir '{dataset_dir}' does not exist: set --dataset_dir to a folder with {_EXPECTED}")
    tables = [path for pattern in TABLES for path in sorted(dataset_dir.glob(pattern))]
    if not tables:
        raise DataError(
            f"dataset_dir '{dataset_dir}' has no '{TABLES[0]}' or '{TABLES[1]}': set --dataset_dir to a folder with "
            f"{_EXPECTED}, or --dataset_format chexpert for CheXpert"
        )
    return tables[0]


def _archives(dataset_dir: Path) -> list[Path]:
    """Return the folders of images as the twelve archives unpack, each beside the others."""
    return sorted(dataset_dir.glob("images_*/images"))
