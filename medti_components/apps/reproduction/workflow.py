# SPDX-License-Identifier: Apache-2.0
"""What ``workflow/Snakefile`` runs: a plan of the steps of experiments, and the writing of what came of them.

Nothing slow is imported before a plan has to be made: each job of a cluster reads the Snakefile anew.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from medti_components.errors import ConfigError
from medti_components.files import ensure_writable_directory, write_text_atomically

if TYPE_CHECKING:
    from medti_components.apps.reproduction.bundle_runs import InversionSteps, Step

PAPER_TARGETS = ("table1", "table2", "table3", "figure2", "figure3", "figure4", "figure5", "figure6")
MINIATURE = (
    "['bundles/prostate_mri_textual_inversion/configs/train.json','configs/embedded.json',"
    "'benchmarks/reproduction_miniature.json']"
)
FIRST_WORDS = {
    "prostate_mri": "<prostate_mri_negative>",
    "chest_xray": "<chest_xray_no_finding>",
    "histopathology": "<histopathology_normal>",
}
PHANTOMS = "phantoms"
PYTHON = sys.executable
"""What the jobs are run by."""


class Experiment(Protocol):
    """A table or a figure of the paper."""

    @property
    def name(self) -> str:
        """Of its files."""
        ...

    @property
    def endings(self) -> Sequence[str]:
        """Of its files."""
        ...

    def steps(self) -> "list[Step]":
        """Return the steps that it reads."""
        ...

    def write(self, folder: Path) -> None:
        """Write what the steps that are done gave."""
        ...


def paper_experiments(
    output_dir: Path,
    config_file: str = MINIATURE,
    dataset_dir: str = "",
    chest_dataset_dir: str = "",
    histopathology_dataset_dir: str = "",
    num_pictures: int = 8,
    num_seeds: int = 1,
    seed: int = 0,
    **values: Any,
) -> list[Experiment]:
    """Return tables 1 to 3, figures 2 to 6 and the tables of words; ``values`` are lists by axis of the grid.

    Raises:
        ConfigError: an option does not fit.
    """
    from medti_components.apps.reproduction import finding_figures as figures
    from medti_components.apps.reproduction.grid_tables import GridCells, GridTable, ParameterPictures
    from medti_components.apps.reproduction.quality_table import PAPER_FID, TABLES, ParameterGrid
    from medti_components.apps.reproduction.words_table import WordsTable

    for key, number, least in (("num_pictures", num_pictures, 1), ("num_seeds", num_seeds, 1), ("seed", seed, 0)):
        _check_number(key, number, least)
    given = {
        "dataset_dir": dataset_dir,
        "chest_dataset_dir": chest_dataset_dir,
        "histopathology_dataset_dir": histopathology_dataset_dir,
    }
    inversions = _inversions(config_file, output_dir, given, seed)
    prostate, chest, histopathology = inversions
    cells = GridCells(prostate, num_seeds)
    grid = ParameterGrid(cells.default, {axis: values.get(axis, [*paper]) for axis, paper in PAPER_FID.items()})
    return [
        *(GridTable(table, cells, grid) for table in TABLES),
        ParameterPictures(cells, grid),
        figures.InterpolationFigure(prostate, chest, histopathology, num_pictures),
        figures.CompositionFigure(chest, num_pictures),
        figures.PaintedRadiographs(chest, num_pictures),
        figures.PaintedProstate(prostate, num_pictures),
        *(WordsTable(one, num_seeds, num_pictures) for one in inversions),
    ]


def table4_experiments(
    output_dir: Path,
    config_file: str,
    dataset_dir: str = "",
    num_seeds: int = 5,
    num_real: int = 200,
    num_synthetic: int = 2000,
    num_few_cases: int = 10,
    embeddings: str = "",
    few_embeddings: str = "",
) -> list[Experiment]:
    """Return table 4.

    Raises:
        ConfigError: an option does not fit.
    """
    from medti_components.apps.reproduction.table4 import ClassifierBundle, Table4, table4_rows

    for key, number in (("num_seeds", num_seeds), ("num_few_cases", num_few_cases)):
        _check_number(key, number, 1)
    learned = _folder("embeddings", embeddings, "to learn the words")
    few_learned = _folder("few_embeddings", few_embeddings, "to learn the words")
    bundle = ClassifierBundle.of(config_file)
    cases = None
    if dataset_dir != PHANTOMS:
        given = _folder("dataset_dir", dataset_dir, f"or give '{PHANTOMS}' to draw some")
        cases = given or Path(bundle.settings["dataset_dir"]).resolve()
    rows = table4_rows(num_real, num_synthetic)
    return [Table4(bundle, cases, output_dir, rows, num_seeds, num_few_cases, (learned, few_learned))]


KINDS: Mapping[str, Callable[..., list[Experiment]]] = {"paper": paper_experiments, "table4": table4_experiments}
Options = Mapping[str, Mapping[str, Any]]


def experiments_of(output_dir: Path, options: Options) -> list[Experiment]:
    """Return all experiments of the kinds in ``options``, each with its options.

    Raises:
        ConfigError: an option does not fit.
    """
    return [experiment for kind, given in options.items() for experiment in KINDS[kind](output_dir, **given)]


def steps_of(experiments: Iterable[Experiment]) -> "dict[Path, Step]":
    """Return all steps of experiments by their folders, each after those that it needs."""
    found: dict[Path, Step] = {}

    def add(step: "Step") -> None:
        if step.folder not in found:
            for need in step.needs:
                add(need)
            found[step.folder] = step

    for experiment in experiments:
        for step in experiment.steps():
            add(step)
    return found


def write_plan(
    path: Path, output_dir: Path, options: Options, experiments: Sequence[Experiment], threads: int = 1
) -> dict[str, Any]:
    """Write what the Snakefile has to know, paths of results relative to ``output_dir``, and return it.

    Args:
        path: of the file.
        output_dir: folder of everything.
        options: of each kind of experiments.
        experiments: what these options give.
        threads: of each step.
    """

    def relative(folder: Path) -> str:
        return str(folder.relative_to(output_dir))

    steps = steps_of(experiments)
    plan = {
        "plan_file": str(path),
        "output_dir": str(output_dir),
        "working_dir": str(Path.cwd()),
        "python": PYTHON,
        "threads": threads,
        "options": options,
        "configs": _digests({config for step in steps.values() for config in step.configs}),
        "steps": {
            relative(folder): {
                "rule": step.rule,
                "needs": [relative(need.result) for need in step.needs],
                "configs": [str(config) for config in step.configs],
                "command": step.command,
            }
            for folder, step in steps.items()
        },
        "results": {
            each.name: {
                "needs": [relative(step.result) for step in each.steps()],
                "files": [f"{each.name}.{ending}" for ending in each.endings],
            }
            for each in experiments
        },
    }
    write_text_atomically(path, json.dumps(plan, indent=1) + "\n")
    return plan


def load_plan(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the plan that the workflow's config is or, where it has options instead, the plan of these.

    The latter is made where it is missing, or other options or configs have been read for it.
    """
    if "steps" in config:
        return config
    output_dir = ensure_writable_directory(config["output_dir"]).resolve()
    options = {kind: config[kind] for kind in KINDS if kind in config}
    path = output_dir / "workflow" / "all.json"
    if path.is_file():
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if plan["options"] == options and plan["configs"] == _digests(plan["configs"]):
            return plan
    return write_plan(path, output_dir, options, experiments_of(output_dir, options))


def _digests(files: Iterable[str | Path]) -> dict[str, str]:
    """Return path and sha256 of each file that is there."""
    paths = [Path(file) for file in sorted(map(str, files)) if Path(file).is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _check_number(key: str, number: int, least: int) -> None:
    if number < least:
        raise ConfigError(f"{key} must be at least {least}, got {number}: correct --{key}")


def _folder(key: str, given: str, otherwise: str) -> Path | None:
    """Return a folder that is there, None where none is given."""
    if given and not Path(given).is_dir():
        raise ConfigError(f"{key} '{Path(given)}' is no folder: correct --{key}, or leave it out {otherwise}")
    return Path(given).resolve() if given else None


def _inversions(
    config_file: str, output_dir: Path, dataset_dirs: Mapping[str, str], seed: int
) -> "list[InversionSteps]":
    """Return the three textual inversions beside each other, each on its cases."""
    from medti_components.apps.reproduction.bundle_runs import BundleConfigs, InversionSteps

    bundle = BundleConfigs.of(config_file)
    missing = [key for key in ("num_vectors", "concepts") if key not in bundle.content(bundle.first.stem)]
    if missing:
        raise ConfigError(
            f"config_file must be the train.json of a textual inversion, '{bundle.first}' lacks {', '.join(missing)}: "
            "give bundles/prostate_mri_textual_inversion/configs/train.json first"
        )
    found = []
    for (modality, word), (key, given) in zip(FIRST_WORDS.items(), dataset_dirs.items(), strict=True):
        cases = _folder(key, given, "to draw phantoms")
        found.append(InversionSteps(bundle.beside([word]), modality, output_dir, cases, seed))
    return found


def main(plan_file: str, name: str) -> None:
    """Write the table or figure ``name`` of a plan."""
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    output_dir = Path(plan["output_dir"])
    (experiment,) = [each for each in experiments_of(output_dir, plan["options"]) if each.name == name]
    experiment.write(output_dir)


if __name__ == "__main__":
    main(*sys.argv[1:])
