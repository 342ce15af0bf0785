# SPDX-License-Identifier: Apache-2.0
"""The settings that tables 1 to 3 of "Medical diffusion on a budget" (MIDL 2024) vary, and what came of each cell."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medti_components.apps.reproduction.bundle_runs import words_name
from medti_components.apps.reproduction.measurements import difference_estimate, estimate_of, mean_estimate
from medti_components.errors import ConfigError
from medti_components.files import write_atomically, write_csv_atomically, write_text_atomically
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.visualize.tables import markdown_table

TABLES = {"table1": ("num_inference_steps", "guidance_scale"), "table2": ("num_vectors",), "table3": ("num_cases",)}
PAPER_FID: Mapping[str, Mapping[float, float]] = {
    "num_inference_steps": {25: 194, 50: 184, 75: 176, 100: 171},
    "guidance_scale": {1: 168, 2: 171, 3: 202, 4: 211, 5: 222},
    "num_vectors": {8: 177, 16: 184, 32: 218, 64: 171},
    "num_cases": {5: 203, 10: 181, 50: 181, 100: 171},
}
LARGEST = {"num_vectors": 75, "num_inference_steps": 1000}  # what CLIP's 77 positions and the schedule have room for
TITLES = {
    "num_inference_steps": "sampling steps",
    "guidance_scale": "guidance scale",
    "num_vectors": "vectors per word",
    "num_cases": "training cases",
}


@dataclass(frozen=True)
class GridSetting:
    """How words are learned and images of them made.

    >>> GridSetting(100, 2.0, 64, 100).name
    'steps_100_guidance_2_vectors_64_cases_100'
    """

    num_inference_steps: int
    guidance_scale: float
    num_vectors: int
    num_cases: int

    @property
    def name(self) -> str:
        """Of the cell's folder."""
        words = words_name(self.num_vectors, self.num_cases)
        return f"steps_{self.num_inference_steps}_guidance_{self.guidance_scale:g}_{words}"


@dataclass(frozen=True)
class GridCell:
    """A value on an axis, a key of :class:`GridSetting`, where all else is as in the middle of the grid."""

    axis: str
    value: float
    setting: GridSetting
    default: float

    @property
    def is_default(self) -> bool:
        """Whether this is the middle of the grid."""
        return self.value == self.default

    @property
    def paper(self) -> float | None:
        """FID in the paper, None for a value that it does not have."""
        return PAPER_FID[self.axis].get(self.value)

    @property
    def paper_difference(self) -> float | None:
        """FID in the paper less the paper's at the middle of this grid, None where it lacks one or this is it."""
        default = PAPER_FID[self.axis].get(self.default)
        return None if self.paper is None or default is None or self.is_default else self.paper - default


class ParameterGrid:
    """The cells of each axis: the values that are asked for, and the default among them.

    Args:
        default: what the configs say.
        values: by axis; as a rule those in ``PAPER_FID``.

    Raises:
        ConfigError: values of an axis are no list of positive numbers, or larger than there is room for, or than
            the config's cases.

    >>> grid = ParameterGrid(GridSetting(100, 2.0, 64, 100), {"num_vectors": [8, 16]})
    >>> [cell.value for cell in grid.cells("table2")], [cell.is_default for cell in grid.cells("table2")]
    ([8, 16, 64], [False, False, True])
    """

    def __init__(self, default: GridSetting, values: Mapping[str, Any]) -> None:
        self.default = default
        self._values = {axis: _numbers(axis, given) for axis, given in values.items()}
        largest = max(self._values.get("num_cases", [1]))
        if largest > default.num_cases:
            raise ConfigError(
                f"num_cases must be at most {default.num_cases}, as in the config, got {largest}: the cases beyond are "
                "held out; lower --num_cases, or raise it in an overlay"
            )

    def cells(self, table: str) -> list[GridCell]:
        """Return the cells of a table, axis by axis."""
        found = []
        for axis in TABLES[table]:
            middle = getattr(self.default, axis)
            for value in sorted({*self._values.get(axis, ()), middle}):
                setting = replace(self.default, **{axis: type(middle)(value)})
                found.append(GridCell(axis, value, setting, middle))
        return found


def _numbers(axis: str, given: Any) -> Sequence[float]:
    is_whole = axis != "guidance_scale"
    kinds, what = (int, "whole numbers from 1") if is_whole else ((int, float), "numbers above 0")
    fits = isinstance(given, list | tuple) and all(
        isinstance(value, kinds) and not isinstance(value, bool) and value > 0 for value in given
    )
    if not fits or not given:
        example = list(PAPER_FID[axis])
        raise ConfigError(f'{axis} must be a list of {what}, got {given!r}: write --{axis} "{example}"')
    if max(given) > LARGEST.get(axis, max(given)):
        raise ConfigError(f"{axis} must be at most {LARGEST[axis]}, got {max(given)}: lower it in --{axis}")
    return list(given)


KERNEL, FRECHET, PUBLISHED = "kid", "fid", "fid_as_published"


@dataclass(frozen=True)
class CellQuality:
    """Metrics of generated beside real images, None where an evaluation has none; all but the AUC are means over words.

    Args:
        fid: Frechet distance to the training images as the paper takes it or, without that, to held-out real images.
        kid: kernel distance to held-out real images, on the same features.
        floor: kernel distance of other real images to the held-out ones.
        auc: of a classifier of real images on the generated ones.
        features: what the features are of.
    """

    fid: IntervalEstimate | None
    kid: IntervalEstimate | None
    floor: IntervalEstimate | None
    auc: IntervalEstimate | None
    features: str

    @classmethod
    def read(cls, path: Path, concepts: Sequence[str]) -> "CellQuality":
        """Read ``metrics.json``: its part "quality" or, without that, the distances on the classifier's features."""
        document = json.loads(path.read_text(encoding="utf-8"))
        auc = estimate_of(document["auc"].get("generated"))
        if "quality" not in document:
            kid, floor = (
                _mean([document["kid"].get(concept, {}).get(name) for concept in concepts])
                for name in ("generated", "more real")
            )
            return cls(None, kid, floor, auc, document["features"])
        quality = document["quality"]
        fid = _quality(quality, concepts, "generated", PUBLISHED) or _quality(quality, concepts, "generated", FRECHET)
        kid, floor = (_quality(quality, concepts, kind, KERNEL) for kind in ("generated", "real"))
        return cls(fid, kid, floor, auc, quality["features"])


def _quality(quality: Mapping[str, Any], concepts: Sequence[str], kind: str, name: str) -> IntervalEstimate | None:
    return _mean([quality.get(concept, {}).get(kind, {}).get(name) for concept in concepts])


def _mean(metrics: Sequence[Mapping[str, Any] | None]) -> IntervalEstimate | None:
    known = [estimate for metric in metrics if (estimate := estimate_of(metric)) is not None]
    return mean_estimate(known) if known and len(known) == len(metrics) else None


HOLDS, FAILS, OPEN = "holds", "fails", "open"


@dataclass(frozen=True)
class QualityRow:
    """A line of the table: a cell, its metrics by seed, and the difference of its KID to the default cell's."""

    cell: GridCell
    by_seed: Mapping[int, CellQuality]
    difference: IntervalEstimate | None

    def mean(self, name: str) -> IntervalEstimate | None:
        """Return the mean of a metric, an attribute of :class:`CellQuality`, over the seeds that have it."""
        known = [metric for each in self.by_seed.values() if (metric := getattr(each, name)) is not None]
        return mean_estimate(known) if known else None

    def sd(self, name: str) -> float | None:
        """Return the standard deviation of a metric over seeds, None for fewer than two."""
        known = [metric.value for each in self.by_seed.values() if (metric := getattr(each, name)) is not None]
        return statistics.stdev(known) if len(known) > 1 else None

    @property
    def trend(self) -> str:
        """Whether the paper's difference to our default has our KID's sign, open where its interval holds zero."""
        paper = self.cell.paper_difference
        if paper is None or self.difference is None:
            return ""
        if self.difference.low <= 0 <= self.difference.high:
            return OPEN
        return HOLDS if (self.difference.value > 0) == (paper > 0) else FAILS


class QualityTable:
    """Tabulates cells as CSV, Markdown and a plot, a panel an axis of the grid.

    Args:
        cells: with their metrics by seed; empty where none is done.
    """

    def __init__(self, cells: Sequence[tuple[GridCell, Mapping[int, CellQuality]]]) -> None:
        plain = [QualityRow(cell, by_seed, None) for cell, by_seed in cells]
        defaults = {row.cell.axis: row.mean("kid") for row in plain if row.cell.is_default}
        self.rows = []
        for row in plain:
            own, default = row.mean("kid"), defaults.get(row.cell.axis)
            difference = None
            if own is not None and default is not None and not row.cell.is_default:
                difference = difference_estimate(own, default)
            self.rows.append(QualityRow(row.cell, row.by_seed, difference))

    def write(self, folder: Path, name: str) -> None:
        """Write ``<name>.csv``, ``.md`` and ``.png``.

        Raises:
            OutputError: they can't be written.
        """
        self._write_csv(folder / f"{name}.csv")
        write_text_atomically(folder / f"{name}.md", self.markdown())
        with write_atomically(folder / f"{name}.png") as temporary:
            self._draw(temporary)

    def _write_csv(self, path: Path) -> None:
        """Write a line per cell, with every seed's KID; what is not known is empty."""
        seeds = sorted({seed for row in self.rows for seed in row.by_seed})
        heads = [f"{name}{part}" for name in ("fid", "kid", "auc") for part in ("", "_low", "_high", "_sd")]
        heads += [f"kid_difference_to_default{part}" for part in ("", "_low", "_high")]
        header = ["axis", "value", "is_default", "paper_fid", *heads, "paper_trend"]
        lines = []
        for row in self.rows:
            values: list[float | None] = [row.cell.paper]
            for name in ("fid", "kid", "auc"):
                values += [*_ends(row.mean(name)), row.sd(name)]
            values += _ends(row.difference)
            own = [row.by_seed[seed].kid if seed in row.by_seed else None for seed in seeds]
            numbers = ["" if value is None else f"{value:.6g}" for value in values]
            last = ["" if kid is None else f"{kid.value:.6g}" for kid in own]
            start = [row.cell.axis, f"{row.cell.value:g}", str(row.cell.is_default)]
            lines.append([*start, *numbers, row.trend, *last])
        write_csv_atomically(path, [*header, *(f"kid_seed_{seed}" for seed in seeds)], lines)

    def markdown(self) -> str:
        """Return the table as it stands in the documentation."""
        heads = ["varied", "value", "paper's FID", "FID", "KID", "AUC", "KID less the default's", "paper's trend"]
        lines = []
        for row in self.rows:
            cell = row.cell
            texts = [_text(row.mean(name), row.sd(name)) for name in ("fid", "kid", "auc")]
            paper = "" if cell.paper is None else f"{cell.paper:g}"
            value = f"**{cell.value:g}**" if cell.is_default else f"{cell.value:g}"
            difference = "" if row.difference is None else str(row.difference)
            lines.append([TITLES[cell.axis], value, paper, *texts, difference, row.trend])
        return f"{markdown_table(heads, lines)}\n{self._about()}\n"

    def _about(self) -> str:
        known = [quality for row in self.rows for quality in row.by_seed.values()]
        features = ", ".join(sorted({quality.features for quality in known})) or "not measured"
        num_seeds = max((len(row.by_seed) for row in self.rows), default=0)
        counts = next((quality.kid.counts for quality in known if quality.kid is not None), {})
        images = ", ".join(f"{count} {group}" for group, count in counts.items()) or "none"
        floors = [quality.floor for quality in known if quality.floor is not None]
        floor = f" KID of other real images at that n: {floors[0]}." if floors else ""
        return (
            "FID (to the training images, as published) and KID (to held-out ones): mean over the words and "
            f"{num_seeds} seed(s), 95 % intervals over images ({images}); features: {features}.{floor} AUC: a "
            "classifier of real images on the generated ones. **Bold**: the default. Paper's trend, the sign of its "
            f"FID less its FID at this default: {HOLDS} or {FAILS} where our KID's difference has an interval without "
            f"zero, else {OPEN}."
        )

    def _draw(self, path: Path) -> None:
        axes_names = list(dict.fromkeys(row.cell.axis for row in self.rows))
        figure = Figure(figsize=(4.5 * len(axes_names), 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(axes_names), squeeze=False)[0]
        for name, axes in zip(axes_names, panels, strict=True):
            rows = [row for row in self.rows if row.cell.axis == name]
            measured = [(row.cell.value, kid) for row in rows if (kid := row.mean("kid")) is not None]
            axes.errorbar(
                [value for value, _ in measured],
                [kid.value for _, kid in measured],
                yerr=[[kid.value - kid.low for _, kid in measured], [kid.high - kid.value for _, kid in measured]],
                fmt="o-",
                color="C0",
                capsize=3,
            )
            axes.set_xlabel(TITLES[name])
            axes.set_ylabel("KID", color="C0")
            paper = [(row.cell.value, row.cell.paper) for row in rows if row.cell.paper is not None]
            if paper:
                other = axes.twinx()
                other.plot([value for value, _ in paper], [fid for _, fid in paper], "x--", color="0.5")
                other.set_ylabel("paper's FID", color="0.4")
            axes.set_xticks([row.cell.value for row in rows])
        figure.savefig(path, format="png", dpi=120)


def _ends(metric: IntervalEstimate | None) -> list[float | None]:
    return [None] * 3 if metric is None else [metric.value, metric.low, metric.high]


def _text(metric: IntervalEstimate | None, sd: float | None) -> str:
    if metric is None:
        return "not measured"
    return str(metric) if sd is None else f"{metric}, sd {sd:.3g}"
