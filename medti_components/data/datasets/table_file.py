# SPDX-License-Identifier: Apache-2.0
"""Reading the table, a CSV file with a header, that comes with a data set."""

import csv
from collections.abc import Iterable
from pathlib import Path

from medti_components.errors import DataError


def table_rows(path: Path, columns: Iterable[str], remedy: str) -> list[dict[str, str]]:
    """Return the rows of a table by column; a cell that a short row lacks is "".

    Args:
        path: the file, UTF-8.
        columns: those that it must have.
        remedy: what to do about another file, for the message.

    Raises:
        DataError: it is unreadable or lacks a column.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, restval="")
            found, rows = table.fieldnames or (), list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"'{path}' is no readable table ({' '.join(str(error).split())}): {remedy}") from error
    absent = [column for column in columns if column not in found]
    if absent:
        raise DataError(f"'{path}' has no column '{absent[0]}': {remedy}")
    return rows
