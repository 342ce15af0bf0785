# SPDX-License-Identifier: Apache-2.0
"""The table of what a classifier knows, beside its weights."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medti_components.data.datasets.patient_splits import check_patients_apart
from medti_components.errors import DataError
from medti_components.files import write_text_atomically

CASES_FILE = "cases.csv"
COLUMNS = ("split", "source", "concept", "patient_id", "study_id")


def write_case_table(folder: str | Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write ``cases.csv``: split, source ('real' or 'synthetic'), concept, patient_id, study_id (or file).

    Raises:
        OutputError: the file can't be written.
    """
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomically(Path(folder) / CASES_FILE, table.getvalue())


def check_unseen(classifier: str | Path, test: Sequence[Mapping[str, Any]]) -> None:
    """Check that no test case is of a patient in the table beside a classifier, where there is one.

    Args:
        classifier: the file of weights.
        test: entries with patient_id.

    Raises:
        DataError: the table can't be read, or a patient is in it.
    """
    path = Path(classifier).parent / CASES_FILE
    if not path.is_file():
        return
    with open(path, newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if table.fieldnames != list(COLUMNS):
            raise DataError(f"'{path}' must have the columns {', '.join(COLUMNS)}: train the classifier again")
        rows = [row for row in table if row["source"] == "real"]
    known: dict[str, Sequence[Mapping[str, Any]]] = {
        split: [row for row in rows if row["split"] == split] for split in ("training", "validation")
    }
    try:
        check_patients_apart({**known, "test": test})
    except DataError as error:
        what, _, _ = str(error).partition(":")
        raise DataError(
            f"{what} of '{classifier}': set --split_seed and the numbers of cases as in training (where another data "
            f"set merely numbers its patients alike, move '{path}' away)"
        ) from error
