# SPDX-License-Identifier: Apache-2.0
"""A table of image quality, a row a cell of the grid, with the paper's figure beside ours."""

import csv
import io
import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medti_components.apps.reproduction.parameter_grid import TITLES, GridCell
from medti_components.files import write_atomically, write_text_atomically
from medti_components.metrics.interval_estimate import IntervalEstimate


def mean_estimate(estimates: Sequence[IntervalEstimate]) -> IntervalEstimate:
    """Return the mean of independent figures; each side of the intervals adds up in quadrature.

    >>> a, b = (IntervalEstimate(value, value - 3, value + 4, {"images": 9}, "exact") for value in (1.0, 3.0))
    >>> mean = mean_estimate([a, b])
    >>> mean.value, round(mean.value - mean.low, 3), dict(mean.counts)  # 3 / sqrt(2)
    (2.0, 2.121, {'images': 18})
    """
    value = math.fsum(each.value for each in estimates) / len(estimates)
    below = math.hypot(*(each.value - each.low for each in estimates)) / len(estimates)
    above = math.hypot(*(each.high - each.value for each in estimates)) / len(estimates)
    counts = Counter[str]()
    for each in estimates:
        counts.update(each.counts)
    method = f"mean of {len(estimates)}, intervals in quadrature"
    return IntervalEstimate(value, value - below, value + above, dict(counts), method, estimates[0].confidence)


def difference_estimate(figure: IntervalEstimate, other: IntervalEstimate) -> IntervalEstimate:
    """Return ``figure - other``, as if they were independent; they share real images, so the interval is wide.

    >>> a, b = IntervalEstimate(5.0, 2.0, 8.0, {"images": 9}, "exact"), IntervalEstimate(1.0, -3.0, 5.0, {}, "exact")
    >>> print(difference_estimate(a, b))  # 4 -+ 5
    4.000 [-1.000, 9.000]
    """
    value = figure.value - other.value
    below = math.hypot(figure.value - figure.low, other.high - other.value)
    above = math.hypot(figure.high - figure.value, other.value - other.low)
    method = "intervals in quadrature"
    return IntervalEstimate(value, value - below, value + above, figure.counts, method, figure.confidence)


KERNEL, FRECHET, PUBLISHED = "kid", "fid", "fid_as_published"


@dataclass(frozen=True)
class CellQuality:
    """Figures of generated beside real images, None where an evaluation has none; all but the AUC are means over words.

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


def estimate_of(figure: Mapping[str, Any] | None) -> IntervalEstimate | None:
    """Return a figure of ``metrics.json``.

    >>> figure = {"value": 0.5, "interval": [0.4, 0.6], "confidence": 0.95, "method": "exact", "n": {"images": 9}}
    >>> print(estimate_of(figure), estimate_of(None))
    0.500 [0.400, 0.600] None
    """
    if figure is None:
        return None
    low, high = figure["interval"]
    return IntervalEstimate(figure["value"], low, high, figure["n"], figure["method"], figure["confidence"])


def _quality(quality: Mapping[str, Any], concepts: Sequence[str], kind: str, name: str) -> IntervalEstimate | None:
    return _mean([quality.get(concept, {}).get(kind, {}).get(name) for concept in concepts])


def _mean(figures: Sequence[Mapping[str, Any] | None]) -> IntervalEstimate | None:
    known = [estimate for figure in figures if (estimate := estimate_of(figure)) is not None]
    return mean_estimate(known) if known and len(known) == len(figures) else None


HOLDS, FAILS, OPEN = "holds", "fails", "open"


@dataclass(frozen=True)
class QualityRow:
    """A line of the table: a cell, its figures by seed, and the difference of its KID to the default cell's."""

    cell: GridCell
    by_seed: Mapping[int, CellQuality]
    difference: IntervalEstimate | None

    def mean(self, name: str) -> IntervalEstimate | None:
        """Return the mean of a figure, an attribute of :class:`CellQuality`, over the seeds that have it."""
        known = [figure for each in self.by_seed.values() if (figure := getattr(each, name)) is not None]
        return mean_estimate(known) if known else None

    def sd(self, name: str) -> float | None:
        """Return the standard deviation of a figure over seeds, None for fewer than two."""
        known = [figure.value for each in self.by_seed.values() if (figure := getattr(each, name)) is not None]
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
        cells: with their figures by seed; empty where none is done.
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
        """Return a line a cell, with every seed's KID; what is not known is empty."""
        seeds = sorted({seed for row in self.rows for seed in row.by_seed})
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        heads = [f"{name}{part}" for name in ("fid", "kid", "auc") for part in ("", "_low", "_high", "_sd")]
        differences = [f"kid_difference_to_default{part}" for part in ("", "_low", "_high")]
        writer.writerow(
            ["axis", "value", "is_default", "paper_fid", *heads, *differences, "paper_trend"]
            + [f"kid_seed_{seed}" for seed in seeds]
        )
        for row in self.rows:
            values: list[float | None] = [row.cell.paper]
            for name in ("fid", "kid", "auc"):
                values += [*_ends(row.mean(name)), row.sd(name)]
            values += _ends(row.difference)
            own = [row.by_seed[seed].kid if seed in row.by_seed else None for seed in seeds]
            numbers = ["" if value is None else f"{value:.6g}" for value in values]
            last = ["" if kid is None else f"{kid.value:.6g}" for kid in own]
            start = [row.cell.axis, f"{row.cell.value:g}", str(row.cell.is_default)]
            writer.writerow([*start, *numbers, row.trend, *last])
        return text.getvalue()

    def markdown(self) -> str:
        """Return the table as it stands in the documentation."""
        heads = ["varied", "value", "paper's FID", "FID", "KID", "AUC", "KID less the default's", "paper's trend"]
        lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        for row in self.rows:
            cell = row.cell
            figures = [row.mean(name) for name in ("fid", "kid", "auc")]
            spreads = [row.sd(name) for name in ("fid", "kid", "auc")]
            texts = [_text(figure, sd) for figure, sd in zip(figures, spreads, strict=True)]
            paper = "" if cell.paper is None else f"{cell.paper:g}"
            value = f"**{cell.value:g}**" if cell.is_default else f"{cell.value:g}"
            difference = "" if row.difference is None else str(row.difference)
            lines.append(f"| {' | '.join([TITLES[cell.axis], value, paper, *texts, difference, row.trend])} |")
        return "\n".join([*lines, "", self._about()]) + "\n"

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


def _ends(figure: IntervalEstimate | None) -> list[float | None]:
    return [None] * 3 if figure is None else [figure.value, figure.low, figure.high]


def _text(figure: IntervalEstimate | None, sd: float | None) -> str:
    if figure is None:
        return "not measured"
    return str(figure) if sd is None else f"{figure}, sd {sd:.3g}"
