# SPDX-License-Identifier: Apache-2.0
"""The tables of data sets: rows that know where they stand, cells of known meaning, and a count of what is left out."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from medti_components.errors import DataError

Case = TypeVar("Case")
Meaning = TypeVar("Meaning")


class TableRow(dict[str, str]):
    """The cells of a row by column.

    Args:
        cells: by column.
        place: the table and the row, for messages.
    """

    def __init__(self, cells: Mapping[str, str], place: str) -> None:
        super().__init__(cells)
        self.place = place

    def meaning(self, column: str, meanings: Mapping[str, Meaning]) -> Meaning | None:
        """Return what a cell stands for, None for a blank.

        Args:
            column: of the cell.
            meanings: by text; upper and lower case are the same, and so are 1 and 1.0.

        Raises:
            DataError: the cell holds another text.

        >>> row = TableRow({"case_csPCa": " yes", "AP/PA": "oblique"}, "'train.csv' row 7")
        >>> row.meaning("case_csPCa", {"YES": 1, "NO": 0})
        1
        >>> row.meaning("AP/PA", {"AP": "AP", "PA": "PA"})
        Traceback (most recent call last):
        ...
        medti_components.errors.DataError: 'train.csv' row 7 has 'oblique' in column 'AP/PA', must be AP, PA or blank:
        correct it
        """
        return meaning_of(self[column], meanings, f"{self.place} has '{self[column]}' in column '{column}'")


def meaning_of(text: str, meanings: Mapping[str, Meaning], found: str) -> Meaning | None:
    """Return what a text stands for, None for a blank; ``found`` tells in the error where it is."""
    plain = plain_text(text)
    if not plain:
        return None
    known = {name.casefold(): meaning for name, meaning in meanings.items()}
    if plain.casefold() not in known:
        raise DataError(f"{found}, must be {', '.join(meanings)} or blank: correct it")
    return known[plain.casefold()]


def plain_text(text: str) -> str:
    """Return a cell without blanks around it, and a whole number without the .0 that spreadsheets add.

    >>> plain_text(" 10000.0"), plain_text("1.5"), plain_text("YES ")
    ('10000', '1.5', 'YES')
    """
    stripped = text.strip()
    whole = stripped.removesuffix(".0")
    return whole if whole.removeprefix("-").isdigit() else stripped


def table_rows(path: Path, columns: Iterable[str], remedy: str) -> list[TableRow]:
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
            found = table.fieldnames or ()
            rows = [TableRow(row, f"'{path}' row {number}") for number, row in enumerate(table, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"'{path}' is no readable table ({' '.join(str(error).split())}): {remedy}") from error
    absent = [column for column in columns if column not in found]
    other = next((mark for mark in (";", "\t") if len(found) == 1 and mark in found[0]), None)
    if other:
        raise DataError(f"'{path}' must be separated by commas, got {other!r}: save it as CSV with commas")
    if absent:
        raise DataError(f"'{path}' has no column '{absent[0]}': {remedy}")
    return rows


def check_distinct(rows: Iterable[TableRow], name_of: Callable[[TableRow], str]) -> None:
    """Check that no two rows are of the same case.

    Raises:
        DataError: two are; the message names both.

    >>> check_distinct([TableRow({"id": "7"}, "row 2"), TableRow({"id": "7"}, "row 3")], lambda row: row["id"])
    Traceback (most recent call last):
    ...
    medti_components.errors.DataError: row 2 and row 3 are both of '7': remove one of them
    """
    seen: dict[str, TableRow] = {}
    for row in rows:
        other = seen.setdefault(name_of(row), row)
        if other is not row:
            raise DataError(f"{other.place} and {row.place} are both of '{name_of(row)}': remove one of them")


class Filter(NamedTuple):
    """One step from the rows of a table to the cases of a concept.

    Args:
        name: what a row must be or have.
        num_left: rows that are or have it, among those that the filters before have left.
        remedy: what to do where none is left.
    """

    name: str
    num_left: int
    remedy: str


@dataclass
class CaseCounts:
    """How many rows of a table each filter has left, in the order of the filters.

    Args:
        table: the file.
        num_rows: of the table.
        filters: the filters so far.

    >>> counts = CaseCounts(Path("train.csv"), 3)
    >>> counts.keep(["AP", "PA", "PA"], "in view AP", "set --views", lambda view: view == "AP")
    ['AP']
    >>> counts.keep([], "with pneumonia", "add some", bool)
    []
    >>> str(counts), counts.remedy()
    ("3 rows of 'train.csv', 1 in view AP, 0 with pneumonia", 'add some')
    """

    table: Path
    num_rows: int
    filters: list[Filter] = field(default_factory=list)

    def keep(self, cases: Sequence[Case], name: str, remedy: str, test: Callable[[Case], bool]) -> list[Case]:
        """Return the cases that pass a filter, and note how many they are."""
        kept = [case for case in cases if test(case)]
        self.filters.append(Filter(name, len(kept), remedy))
        return kept

    def branch(self) -> "CaseCounts":
        """Return the counts so far, to go on with for one concept."""
        return CaseCounts(self.table, self.num_rows, [*self.filters])

    def remedy(self) -> str | None:
        """Return the remedy of the filter that left nothing; None where each left something."""
        return next((each.remedy for each in self.filters if each.num_left == 0), None)

    def __str__(self) -> str:
        """Tell the counts up to the filter that left nothing."""
        parts = [f"{self.num_rows} rows of '{self.table.name}'"]
        for each in self.filters:
            parts.append(f"{each.num_left} {each.name}")
            if each.num_left == 0:
                break
        return ", ".join(parts)
