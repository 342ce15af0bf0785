# SPDX-License-Identifier: Apache-2.0
"""A table of AUCs, a row a way of training: mean and spread over seeds, and what was gained over other rows."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medti_components.data.classification.classified_cases import ClassifiedCases
from medti_components.errors import ConfigError, DataError
from medti_components.files import write_atomically, write_text_atomically
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.roc_auc import PairedAucDifference, pairs_won

REAL_ONLY, DUPLICATED, SYNTHETIC_ONLY = "real", "real_duplicated", "synthetic_many"


@dataclass(frozen=True)
class Table4Row:
    """What a classifier of the row learns from.

    Args:
        name: of its folder.
        num_real: real images.
        num_synthetic: synthetic images.
        has_few_words: whether these are of words learned from few cases.
        keys: further keys of the classifier's training.
        initial_row: the row whose classifier of the same seed training goes on from.
        note: what sets a control apart.
        paper: mean and standard deviation of the AUC over ten trainings in the paper; None for a control.
    """

    name: str
    num_real: int
    num_synthetic: int
    has_few_words: bool = False
    keys: Mapping[str, Any] = field(default_factory=dict)
    initial_row: str | None = None
    note: str = ""
    paper: tuple[float, float] | None = None


def table4_rows(num_real: int, num_synthetic: int) -> list[Table4Row]:
    """Return the seven rows in the paper's order (200 real and 2,000 synthetic images there), then the controls.

    Raises:
        ConfigError: a number is not even, or there are not more synthetic images than real ones.

    >>> [row.name for row in table4_rows(200, 2000)][:3]
    ['real', 'synthetic_equal', 'synthetic_many']
    """
    for key, number in (("num_real", num_real), ("num_synthetic", num_synthetic)):
        if number < 2 or number % 2:
            raise ConfigError(f"{key} must be an even number from 2, half of each class, got {number}: correct --{key}")
    if num_synthetic <= num_real:
        raise ConfigError(f"num_synthetic must be larger than num_real, {num_real}, got {num_synthetic}: raise it")
    return [
        Table4Row(REAL_ONLY, num_real, 0, paper=(0.780, 0.017)),
        Table4Row("synthetic_equal", 0, num_real, paper=(0.737, 0.019)),
        Table4Row(SYNTHETIC_ONLY, 0, num_synthetic, paper=(0.766, 0.020)),
        Table4Row("real_synthetic_equal", num_real, num_real, paper=(0.773, 0.015)),
        Table4Row("real_synthetic_many", num_real, num_synthetic, paper=(0.803, 0.009)),
        Table4Row("few_synthetic_many", 0, num_synthetic, has_few_words=True, paper=(0.562, 0.036)),
        Table4Row("real_few_synthetic_many", num_real, num_synthetic, has_few_words=True, paper=(0.745, 0.012)),
        Table4Row(
            DUPLICATED, num_real, 0, keys={"num_duplicates": num_synthetic}, note=f"{num_synthetic} duplicates of real"
        ),
        Table4Row("real_augmented", num_real, 0, keys={"augmentation_level": "heavy"}, note="strong augmentation"),
        Table4Row(
            "pretrained", num_real, 0, initial_row=SYNTHETIC_ONLY, note=f"pre-trained on {num_synthetic} synthetic"
        ),
        Table4Row("real_few_synthetic_equal", num_real, num_real, has_few_words=True, note="words of few cases"),
    ]


BASELINES = {REAL_ONLY: "real only", DUPLICATED: "duplicates"}
Cells = Mapping[int, ClassifiedCases]


@dataclass(frozen=True)
class AucRow:
    """A line of the table.

    Args:
        row: what was trained on.
        aucs: AUC on the test cases by seed.
        differences: to the rows of ``BASELINES``, over the seeds that both have; None where there is none.
    """

    row: Table4Row
    aucs: Mapping[int, float]
    differences: Mapping[str, IntervalEstimate | None]

    @property
    def mean(self) -> float | None:
        """Mean over the seeds."""
        return statistics.fmean(self.aucs.values()) if self.aucs else None

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over the seeds."""
        return statistics.stdev(self.aucs.values()) if len(self.aucs) > 1 else None


class AucTable:
    """Measures cells on the test cases that all share, and writes the table as CSV, Markdown and a picture.

    Args:
        cells: the classified test cases of each row, by seed; rows without one are empty.
        difference: of two rows.

    Raises:
        DataError: two cells were tested on different cases.
    """

    def __init__(self, cells: Sequence[tuple[Table4Row, Cells]], difference: PairedAucDifference | None = None) -> None:
        self.difference = difference or PairedAucDifference()
        _check_shared([case for _, row_cells in cells for case in row_cells.values()])
        by_name = {row.name: row_cells for row, row_cells in cells}
        self.rows = [
            AucRow(
                row,
                {seed: _auc(cases) for seed, cases in sorted(own.items())},
                {name: self._compared(own, by_name.get(name, {})) if name != row.name else None for name in BASELINES},
            )
            for row, own in cells
        ]

    def _compared(self, own: Cells, baseline: Cells) -> IntervalEstimate | None:
        seeds = sorted(own.keys() & baseline.keys())
        if not seeds:
            return None
        scores, others = (torch.stack([cells[seed].log_odds for seed in seeds]) for cells in (own, baseline))
        cases = own[seeds[0]]
        return self.difference(scores, others, cases.is_positive, cases.patient_ids)

    def write(self, folder: str | Path, name: str) -> list[Path]:
        """Write ``<name>.csv``, ``.md`` and ``.png`` and return their paths.

        Raises:
            OutputError: they can't be written.
        """
        paths = [Path(folder) / f"{name}.{ending}" for ending in ("csv", "md", "png")]
        write_text_atomically(paths[0], self.csv())
        write_text_atomically(paths[1], self.markdown())
        with write_atomically(paths[2]) as temporary:
            self._draw(temporary)
        return paths

    def csv(self) -> str:
        """Return a line a row, with every seed's AUC; what is not known is empty."""
        seeds = sorted({seed for line in self.rows for seed in line.aucs})
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        heads = [f"difference_to_{name}{part}" for name in BASELINES for part in ("", "_low", "_high")]
        writer.writerow(
            ["row", "num_real", "num_synthetic", "has_few_words", "note", "auc", "sd", *heads, "paper_auc", "paper_sd"]
            + [f"auc_seed_{seed}" for seed in seeds]
        )
        for line in self.rows:
            row, found = line.row, [line.differences[name] for name in BASELINES]
            differences = [each for one in found for each in ((one.value, one.low, one.high) if one else (None,) * 3)]
            values = [line.mean, line.sd, *differences, *(row.paper or (None, None))]
            values += [line.aucs.get(seed) for seed in seeds]
            numbers = ["" if value is None else f"{value:.6g}" for value in values]
            writer.writerow([row.name, row.num_real, row.num_synthetic, row.has_few_words, row.note, *numbers])
        return text.getvalue()

    def markdown(self) -> str:
        """Return the table as it stands in the documentation."""
        num_seeds = max((len(line.aucs) for line in self.rows), default=0)
        heads = [
            "real",
            "synthetic",
            "control",
            "AUC",
            *(f"difference to {name}" for name in BASELINES.values()),
            "paper",
        ]
        lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        for line in self.rows:
            row = line.row
            known = [line.differences[name] for name in BASELINES]
            cells = [
                str(row.num_real),
                f"{row.num_synthetic}{'*' if row.has_few_words else ''}",
                row.note,
                _spread(line.mean, line.sd),
                *(f"{each.value:+.3f} [{each.low:+.3f}, {each.high:+.3f}]" if each else "" for each in known),
                _spread(*row.paper) if row.paper else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
        about = (
            f"AUC on the test cases: mean ± standard deviation over {num_seeds} seeds. Differences: 95 % paired "
            "bootstrap over test patients and seeds.\n* Images of words that were learned from few cases."
        )
        return "\n".join(lines) + f"\n\n{about}\n"

    def _draw(self, path: Path) -> None:
        figure = Figure(figsize=(8, 0.45 * len(self.rows) + 1.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for place, line in enumerate(self.rows):
            if line.mean is not None:
                axes.errorbar(line.mean, place, xerr=line.sd or 0.0, fmt="o", color="C0", capsize=3)
                axes.plot([*line.aucs.values()], [place] * len(line.aucs), "|", color="C0", alpha=0.5)
            if line.row.paper:
                axes.errorbar(line.row.paper[0], place + 0.2, xerr=line.row.paper[1], fmt="x", color="0.6", capsize=2)
        axes.plot([], [], "o", color="C0", label="mean and sd over seeds; | each seed")
        axes.plot([], [], "x", color="0.6", label="paper")
        axes.set_yticks(range(len(self.rows)), [_title(line.row) for line in self.rows])
        axes.invert_yaxis()
        axes.set_xlabel("AUC on the test cases")
        figure.legend(loc="outside upper center", ncols=2, fontsize="small")
        figure.savefig(path, format="png", dpi=120)


def _title(row: Table4Row) -> str:
    star = "*" if row.has_few_words else ""
    return f"{row.num_real} real, {row.num_synthetic}{star} synthetic" + (f", {row.note}" if row.note else "")


def _spread(mean: float | None, sd: float | None) -> str:
    if mean is None:
        return "not measured"
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


def _auc(cases: ClassifiedCases) -> float:
    return float(pairs_won(cases.log_odds[cases.is_positive], cases.log_odds[~cases.is_positive]).mean())


def _check_shared(cells: Sequence[ClassifiedCases]) -> None:
    for cases in cells:
        if cases.study_ids != cells[0].study_ids or cases.concepts != cells[0].concepts:
            raise DataError(
                "all cells must be tested on the same cases, got others in some: the data set has changed, choose "
                "another --output_dir"
            )
