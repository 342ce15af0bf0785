# SPDX-License-Identifier: Apache-2.0
"""Tables of a report or of Markdown: of metrics with their intervals, of settings, of text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from medti_components.metrics.interval_estimate import IntervalEstimate


@dataclass(frozen=True)
class Table:
    """A table of text.

    Args:
        headings: of the columns; none for a table without a head.
        rows: cells; the first cell of a row says what the row is.
        has_metrics: its columns are value, interval, n and how, which are set accordingly.
    """

    kind: ClassVar[str] = "table"
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    has_metrics: bool = False


def metrics_table(rows: Sequence[tuple[str, IntervalEstimate | None]], heading: str, first: str = "images") -> Table:
    """Return a table of metrics with interval and n; ``heading`` is what they are, ``first`` what the rows are.

    >>> metrics_table([("all", IntervalEstimate(0.5, 0.4, 0.6, {"real": 9}, "exact"))], "share").rows
    [['all', '0.500', '0.400 to 0.600', '9 real', '95%, exact']]
    """
    cells = []
    for name, metric in rows:
        if metric is None:
            cells.append([name, "undetermined", "", "", ""])
            continue
        value, _, interval = str(metric).partition(" ")
        how = f"{metric.confidence:.0%}, {metric.method}"
        cells.append([name, value, interval.strip("[]").replace(", ", " to "), listed_counts(metric), how])
    return Table([first, heading, "interval", "n", "how"], cells, has_metrics=True)


def settings_table(settings: Mapping[str, Any]) -> Table:
    """Return a table of settings as they are."""
    return Table([], [(str(name), str(value)) for name, value in settings.items()])


def listed_counts(metric: IntervalEstimate) -> str:
    """Return how many images of which kind are behind a metric.

    >>> listed_counts(IntervalEstimate(0.5, 0.4, 0.6, {"real": 9, "generated": 7}, "exact"))
    '9 real, 7 generated'
    """
    return ", ".join(f"{count} {group}" for group, count in metric.counts.items())


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown has it.

    >>> print(markdown_table(["metric", "value"], [["auc", "0.5"]]), end="")
    | metric | value |
    |---|---|
    | auc | 0.5 |
    """
    lines = [f"| {' | '.join(cells)} |" for cells in (headings, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(headings), *lines[1:]]) + "\n"
