# SPDX-License-Identifier: Apache-2.0
"""Table 4: what synthetic images are worth to a classifier."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medti_components.apps.reproduction.bundle_runs import BundleConfigs, Step, phantom_step, spared
from medti_components.data.classification.classified_cases import PROBABILITIES_FILE, ClassifiedCases
from medti_components.errors import ConfigError, DataError
from medti_components.files import write_atomically, write_csv_atomically, write_text_atomically
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.roc_auc import PairedAucDifference, pairs_won
from medti_components.visualize.tables import markdown_table

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
        """Write a line per row, with every seed's AUC; what is not known is empty."""
        seeds = sorted({seed for line in self.rows for seed in line.aucs})
        header = ["row", "num_real", "num_synthetic", "has_few_words", "note", "auc", "sd"]
        header += [f"difference_to_{name}{part}" for name in BASELINES for part in ("", "_low", "_high")]
        header += ["paper_auc", "paper_sd", *(f"auc_seed_{seed}" for seed in seeds)]
        lines = []
        for line in self.rows:
            row, found = line.row, [line.differences[name] for name in BASELINES]
            differences = [each for one in found for each in ((one.value, one.low, one.high) if one else (None,) * 3)]
            values = [line.mean, line.sd, *differences, *(row.paper or (None, None))]
            values += [line.aucs.get(seed) for seed in seeds]
            numbers = ["" if value is None else f"{value:.6g}" for value in values]
            lines.append([row.name, row.num_real, row.num_synthetic, row.has_few_words, row.note, *numbers])
        write_csv_atomically(path, header, lines)

    def markdown(self) -> str:
        """Return the table as it stands in the documentation."""
        num_seeds = max((len(line.aucs) for line in self.rows), default=0)
        differences = [f"difference to {name}" for name in BASELINES.values()]
        cells = []
        for line in self.rows:
            row = line.row
            known = [line.differences[name] for name in BASELINES]
            cells.append(
                [
                    str(row.num_real),
                    f"{row.num_synthetic}{'*' if row.has_few_words else ''}",
                    row.note,
                    _spread(line.mean, line.sd),
                    *(f"{each.value:+.3f} [{each.low:+.3f}, {each.high:+.3f}]" if each else "" for each in known),
                    _spread(*row.paper) if row.paper else "",
                ]
            )
        table = markdown_table(["real", "synthetic", "control", "AUC", *differences, "paper"], cells)
        about = (
            f"AUC on the test cases: mean ± standard deviation over {num_seeds} seeds. Differences: 95 % paired "
            "bootstrap over test patients and seeds.\n* Images of words that were learned from few cases."
        )
        return f"{table}\n{about}\n"

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


SPLIT_KEYS = ("num_training_cases", "num_validation_cases", "num_test_cases", "split_seed")
KEYS = ("dataset_dir", "dataset_format", "concepts", *SPLIT_KEYS)


@dataclass(frozen=True)
class ClassifierBundle:
    """Configs of a classifier's bundle and of the textual inversion beside it, each with the same overlays.

    Args:
        classifier: the classifier's.
        words: those of the bundle that learns its concepts.
        settings: what the training config with its overlays says, for the keys in ``KEYS``.
    """

    classifier: BundleConfigs
    words: BundleConfigs
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, config_file: str) -> "ClassifierBundle":
        """Read a classifier's ``train.json``, or a list of it and overlays, written as for ``monai.bundle run``.

        Raises:
            ConfigError: a file is missing, is no such config, or no bundle beside it learns its concepts.
        """
        bundle = BundleConfigs.of(config_file)
        path = bundle.first
        config = bundle.content(path.stem)
        missing = [key for key in KEYS if key not in config]
        if missing or not (path.parent / "evaluate.json").is_file():
            what = f"lacks {', '.join(missing)}" if missing else "has no evaluate.json beside it"
            raise ConfigError(
                f"config_file must be the train.json of a bundle that trains a classifier, '{path}' {what}: "
                "give bundles/prostate_cancer_classification/configs/train.json first"
            )
        settings = {key: config[key] for key in KEYS}
        return cls(bundle, bundle.beside(settings["concepts"]), settings)


@dataclass(frozen=True)
class Table4:
    """Makes the steps, and writes the table of AUCs.

    Args:
        bundle: the classifier's and the textual inversion's configs.
        dataset_dir: the real cases; None draws phantoms.
        output_dir: folder of everything.
        rows: of the table.
        num_seeds: cells of each row.
        num_few_cases: cases of each class that the few words are learned from.
        embeddings: folders of words learned before, of all training cases and of few; None learns them.
    """

    bundle: ClassifierBundle
    dataset_dir: Path | None
    output_dir: Path
    rows: Sequence[Table4Row]
    num_seeds: int
    num_few_cases: int
    embeddings: tuple[Path | None, Path | None]
    name: str = "table4"
    endings: Sequence[str] = ("csv", "md", "png")

    def steps(self) -> list[Step]:
        """Return the evaluation of each cell, whole seeds first."""
        return [self.evaluating(row, seed) for seed in range(self.num_seeds) for row in self.rows]

    def write(self, folder: Path) -> None:
        """Write ``table4.csv``, ``.md`` and ``.png``."""
        cells = []
        for row in self.rows:
            steps = {seed: self.evaluating(row, seed) for seed in range(self.num_seeds)}
            cells.append((row, {seed: self._cases(step) for seed, step in steps.items() if step.is_done}))
        AucTable(cells).write(folder, self.name)

    def _cases(self, step: Step) -> ClassifiedCases:
        return ClassifiedCases.read_table(step.folder / PROBABILITIES_FILE, self.bundle.settings["concepts"])

    def _phantoms(self) -> tuple[Step, ...]:
        """Return the step that draws the cases where they are phantoms: hard ones, a few more than are counted."""
        if self.dataset_dir is not None:
            return ()
        keys = ("num_training_cases", "num_validation_cases", "num_test_cases")
        num = spared(sum(self.bundle.settings[key] for key in keys))
        numbers = {"num_negative": num, "num_positive": num, "seed": self.bundle.settings["split_seed"]}
        keys_given = {"output_dir": self._cases_dir, **numbers, "difficulty": "hard"}
        return (phantom_step("prostate_mri", keys_given),)

    @property
    def _cases_dir(self) -> Path:
        return self.dataset_dir or self.output_dir / "cases"

    def _images(self, has_few_words: bool) -> Step:
        """Return the step that makes the synthetic images of all rows with these words."""
        settings = self.bundle.settings
        name, num_cases = (
            ("few_words", self.num_few_cases) if has_few_words else ("words", settings["num_training_cases"])
        )
        shared = {"show_progress": "true", "seed": settings["split_seed"]}
        embeddings, needs = self.embeddings[has_few_words], list[Step]()
        if embeddings is None:
            keys: dict[str, Any] = {
                **shared,
                "dataset_dir": self._cases_dir,
                "cache_dir": self.output_dir / "cache",
                "output_dir": self.output_dir / name,
                "concepts": settings["concepts"],
                "num_cases": num_cases,
                "num_validation_cases": settings["num_validation_cases"],
            }
            needs = [self.bundle.words.step("training", "train", keys, self._phantoms())]
            embeddings = needs[0].result
        number = max(row.num_synthetic for row in self.rows if row.has_few_words is has_few_words)
        folder = self.output_dir / name / "images"
        keys = {**shared, "embeddings": embeddings, "output_dir": folder, "num_images": number // 2}
        return self.bundle.words.step("generating", "inference", keys, needs)

    def _shared_keys(self, seed: int) -> dict[str, Any]:
        cache = self.output_dir / "cache"
        return {"dataset_dir": self._cases_dir, "cache_dir": cache, "seed": seed, "show_progress": "true"}

    def _training(self, row: Table4Row, seed: int) -> Step:
        """Return the step that trains a cell's classifier."""
        keys = {
            **self._shared_keys(seed),
            "output_dir": self._cell_dir(row, seed) / "training",
            "num_real": row.num_real,
            "num_synthetic": row.num_synthetic,
            **row.keys,
        }
        needs = [*self._phantoms()]
        if row.num_synthetic:
            needs.append(self._images(row.has_few_words))
            keys["synthetic_dir"] = needs[-1].folder
        if row.initial_row is not None:
            (initial,) = [each for each in self.rows if each.name == row.initial_row]
            needs.append(self._training(initial, seed))
            keys["initial_classifier"] = needs[-1].result
        return self.bundle.classifier.step("training", "train", keys, needs, "classifier_training")

    def evaluating(self, row: Table4Row, seed: int) -> Step:
        """Return the step that tests a cell's classifier."""
        training = self._training(row, seed)
        keys = {
            **self._shared_keys(seed),
            "classifier": training.result,
            "output_dir": self._cell_dir(row, seed) / "evaluating",
            **{key: self.bundle.settings[key] for key in SPLIT_KEYS},
        }
        return self.bundle.classifier.step("evaluating", "evaluate", keys, [training])

    def _cell_dir(self, row: Table4Row, seed: int) -> Path:
        return self.output_dir / "cells" / row.name / f"seed_{seed}"
