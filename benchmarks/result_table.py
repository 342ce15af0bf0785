# SPDX-License-Identifier: Apache-2.0
"""The results of a benchmark as a Markdown table on stdout and, where wanted, as a CSV file."""

import csv
from collections.abc import Sequence
from pathlib import Path


def show_table(fields: Sequence[str], rows: Sequence[Sequence[str]], output: Path | None = None) -> None:
    """Print ``rows`` under ``fields`` and write both to ``output``.

    >>> show_table(("method", "ms"), [("plain", "3.1")])
    | method | ms |
    |---|---|
    | plain | 3.1 |
    """
    print("| " + " | ".join(fields) + " |\n|" + "---|" * len(fields))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    if output is not None:
        with open(output, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([fields, *rows])
