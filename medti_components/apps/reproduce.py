# SPDX-License-Identifier: Apache-2.0
"""The command ``reproduce``: the paper's tables and figures by the bundles' own commands, gone on with after breaks."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from medti_components.apps.reproduction.auc_table import table4_rows
from medti_components.apps.reproduction.bundle_configs import BundleConfigs
from medti_components.apps.reproduction.composition_figure import CompositionFigure
from medti_components.apps.reproduction.grid_table import GridCells, GridTable, ParameterPictures
from medti_components.apps.reproduction.inpainting_figures import PaintedProstate, PaintedRadiographs
from medti_components.apps.reproduction.interpolation_figure import InterpolationFigure
from medti_components.apps.reproduction.inversion_steps import InversionSteps
from medti_components.apps.reproduction.parameter_grid import PAPER_FID, TABLES, ParameterGrid
from medti_components.apps.reproduction.step_chain import Step, StepChain, gpus, num_cores
from medti_components.apps.reproduction.table4 import ClassifierBundle, Table4
from medti_components.apps.reproduction.words_table import WordsTable
from medti_components.errors import ConfigError, TrainingError
from medti_components.files import ensure_writable_directory


class Experiment(Protocol):
    """A table or a figure of the paper."""

    @property
    def name(self) -> str:
        """Of its files."""
        ...

    def steps(self) -> list[Step]:
        """Return all commands, each after those that it needs."""
        ...

    def write(self, folder: Path, done: Collection[str]) -> Iterator[str]:
        """Write what the commands that are ``done`` gave, and yield what is to be said of it."""
        ...


def run_experiments(
    experiments: Sequence[Experiment], folder: Path, num_processes: int, dry_run: bool
) -> Iterator[str]:
    """Run the commands of experiments, each once, and write the results; with ``dry_run`` show the commands alone.

    Args:
        experiments: tables and figures.
        folder: of records, logs and results.
        num_processes: commands at a time; 0 takes one a GPU, or one a core.
        dry_run: run nothing.

    Raises:
        ConfigError: the number of processes is negative.
        TrainingError: a command failed; all that do not need it were run, and what there is was written.
    """
    if num_processes < 0:
        raise ConfigError(f"num_processes must be at least 0, got {num_processes}: correct --num_processes")
    steps = {step.name: step for experiment in experiments for step in experiment.steps()}
    chain = StepChain(list(steps.values()), folder, num_processes or len(gpus()) or num_cores())
    if dry_run:
        yield from chain.plan()
        return
    yield from chain.run()
    done = {step.name for step in chain.steps if chain.is_done(step)}
    for experiment in experiments:
        yield from experiment.write(folder, done)
    if chain.failed:
        name, reason = next(iter(chain.failed.items()))
        raise TrainingError(f"{len(chain.failed)} of {len(chain.steps)} commands failed, first {name}: {reason}")


MINIATURE = (
    "['bundles/prostate_mri_textual_inversion/configs/train.json','configs/embedded.json',"
    "'benchmarks/reproduction_miniature.json']"
)
FIRST_WORDS = {
    "prostate_mri": "<prostate_mri_negative>",
    "chest_xray": "<chest_xray_no_finding>",
    "histopathology": "<histopathology_normal>",
}
Builder = Callable[[GridCells, ParameterGrid, Mapping[str, InversionSteps], int], list[Experiment]]


def _command(names: tuple[str, ...], what: str) -> Callable[..., Iterator[str]]:
    """Return a method of :class:`Reproduce`; all but that of table 4 take the same options."""

    def command(
        self: "Reproduce",
        output_dir: str,
        config_file: str = MINIATURE,
        dataset_dir: str = "",
        chest_dataset_dir: str = "",
        histopathology_dataset_dir: str = "",
        num_inference_steps: Any = tuple(PAPER_FID["num_inference_steps"]),
        guidance_scale: Any = tuple(PAPER_FID["guidance_scale"]),
        num_vectors: Any = tuple(PAPER_FID["num_vectors"]),
        num_cases: Any = tuple(PAPER_FID["num_cases"]),
        num_pictures: int = 8,
        num_seeds: int = 1,
        seed: int = 0,
        num_processes: int = 0,
        dry_run: bool = False,
    ) -> Iterator[str]:
        del self
        for key, number, least in (("num_pictures", num_pictures, 1), ("num_seeds", num_seeds, 1), ("seed", seed, 0)):
            _check_number(key, number, least)
        folder = ensure_writable_directory(output_dir).resolve()
        dataset_dirs = {
            "dataset_dir": dataset_dir,
            "chest_dataset_dir": chest_dataset_dir,
            "histopathology_dataset_dir": histopathology_dataset_dir,
        }
        inversions = _inversions(config_file, folder, dataset_dirs, seed)
        prostate, chest, histopathology = inversions
        cells = GridCells(prostate, num_seeds)
        values = {
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "num_vectors": num_vectors,
            "num_cases": num_cases,
        }
        grid = ParameterGrid(cells.default, values)
        known: dict[str, Experiment] = {table: GridTable(table, cells, grid) for table in TABLES}
        for figure in (
            ParameterPictures(cells, grid),
            InterpolationFigure(prostate, chest, histopathology, num_pictures),
            CompositionFigure(chest, num_pictures),
            PaintedRadiographs(chest, num_pictures),
            PaintedProstate(prostate, num_pictures),
        ):
            known[figure.name] = figure
        words = {each.name: each for each in (WordsTable(one, num_seeds, num_pictures) for one in inversions)}
        chosen = [(known | words)[name] for name in names or tuple(known)]
        return run_experiments(chosen, folder, num_processes, dry_run)

    command.__doc__ = f"""{what}

        Words and images that are missing are made first. The same command goes on where it was broken off; what other
        tables and figures in the same folder have made is not made again.

        Args:
            output_dir: folder for everything.
            config_file: a textual inversion's train.json, or a list of it and overlays, which are laid over the configs
                of the other textual inversions beside it too; by default a miniature on the embedded base model.
            dataset_dir: prostate MRI in PI-CAI's layout; phantoms where it is left out.
            chest_dataset_dir: radiographs in CheXpert's layout; phantoms where it is left out.
            histopathology_dataset_dir: Patch Camelyon's files; phantoms where it is left out.
            num_inference_steps: sampling steps to compare; the config's are added.
            guidance_scale: guidance scales to compare; the config's is added.
            num_vectors: vectors a word to compare; the config's are added.
            num_cases: training cases a word to compare; the config's are added, which are the most.
            num_pictures: images of each kind in figures 3 to 6, and of composed, interpolated and painted words.
            num_seeds: trainings of each cell of tables 1 to 3, and of the words.
            seed: of the first training, of phantoms and of images.
            num_processes: commands at a time; 0 takes one a GPU, or one a core.
            dry_run: show the commands and what is done, run nothing.
        """
    command.__name__ = names[0] if names else "all"
    command.__qualname__ = f"Reproduce.{command.__name__}"
    return command


class Reproduce:
    """Reproduce tables and figures of "Medical diffusion on a budget" (MIDL 2024) on one's own data."""

    table1 = _command(("table1",), "Compare image quality over sampling steps and guidance scales.")
    table2 = _command(("table2",), "Compare image quality over vectors a word.")
    table3 = _command(("table3",), "Compare image quality over training cases.")
    figure2 = _command(("figure2",), "Show one picture of each cell of tables 1 to 3, all of one seed.")
    figure3 = _command(("figure3",), "Go from healthy to diseased in prostate MRI, radiographs and histopathology.")
    figure4 = _command(("figure4",), "Add findings to a radiograph one by one.")
    figure5 = _command(("figure5",), "Paint effusion and pneumonia into the lower left lung of healthy radiographs.")
    figure6 = _command(("figure6",), "Paint lesions into a healthy prostate at two places in two sizes.")
    all = _command((), "Make tables 1 to 3 and figures 2 to 6.")
    words_prostate_mri = _command(("words_prostate_mri",), "Measure all of prostate MRI's words, seed by seed.")
    words_chest_xray = _command(("words_chest_xray",), "Measure all of radiographs' words, seed by seed.")
    words_histopathology = _command(("words_histopathology",), "Measure all of histopathology's words, seed by seed.")

    def table4(
        self,
        config_file: str,
        output_dir: str,
        dataset_dir: str = "",
        num_seeds: int = 5,
        num_real: int = 200,
        num_synthetic: int = 2000,
        num_few_cases: int = 10,
        embeddings: str = "",
        few_embeddings: str = "",
        num_processes: int = 0,
        dry_run: bool = False,
    ) -> Iterator[str]:
        """Train classifiers on mixes of real and synthetic images and test all on the same cases.

        The seven rows of table 4 and four controls, each with seeds 0 to ``num_seeds`` - 1. Words and images that are
        missing are made first. The same command goes on where it was broken off: what is done is not done again, and
        what a changed setting touches is. Leaves table4.csv, table4.md and table4.png in ``output_dir``, and a folder
        a cell.

        Args:
            config_file: the classification bundle's train.json, or a list of it and overlays, which are laid over the
                textual inversion's configs too.
            output_dir: folder for everything.
            dataset_dir: the real cases; by default the config's.
            num_seeds: trainings of each row.
            num_real: real images to train on, half of each class.
            num_synthetic: synthetic images, half of each class, where there are many.
            num_few_cases: cases of each class for the words of few cases.
            embeddings: folder of words learned before from the training cases; empty learns them.
            few_embeddings: the same of the few cases.
            num_processes: commands at a time; 0 takes one a GPU, or one a core.
            dry_run: show the commands and what is done, run nothing.
        """
        for key, number in (("num_seeds", num_seeds), ("num_few_cases", num_few_cases)):
            _check_number(key, number, 1)
        words = [Path(path).resolve() if path else None for path in (embeddings, few_embeddings)]
        for key, path in zip(("embeddings", "few_embeddings"), words, strict=True):
            if path is not None and not path.is_dir():
                raise ConfigError(f"{key} '{path}' is no folder: correct --{key}, or leave it out to learn the words")
        if dataset_dir and not Path(dataset_dir).is_dir():
            raise ConfigError(f"dataset_dir '{dataset_dir}' is no folder: correct --dataset_dir, or leave it out")
        table = Table4.of(
            ClassifierBundle.of(config_file),
            ensure_writable_directory(output_dir).resolve(),
            dataset_dir,
            table4_rows(num_real, num_synthetic),
            num_seeds,
            num_few_cases,
            (words[0], words[1]),
        )
        if not dry_run:
            table.write_settings()
        return run_experiments([table], table.output_dir, num_processes, dry_run)


def _check_number(key: str, number: int, least: int) -> None:
    if number < least:
        raise ConfigError(f"{key} must be at least {least}, got {number}: correct --{key}")


def _inversions(config_file: str, output_dir: Path, dataset_dirs: Mapping[str, str], seed: int) -> list[InversionSteps]:
    """Return the three textual inversions beside each other, each on its cases."""
    bundle = BundleConfigs.of(config_file)
    missing = [key for key in ("num_vectors", "concepts") if key not in bundle.content(bundle.first.stem)]
    if missing:
        raise ConfigError(
            f"config_file must be the train.json of a textual inversion, '{bundle.first}' lacks {', '.join(missing)}: "
            "give bundles/prostate_mri_textual_inversion/configs/train.json first"
        )
    found = []
    for (modality, word), (key, given) in zip(FIRST_WORDS.items(), dataset_dirs.items(), strict=True):
        path = Path(given).resolve() if given else None
        if path is not None and not path.is_dir():
            raise ConfigError(f"{key} '{path}' is no folder: correct --{key}, or leave it out to draw phantoms")
        found.append(InversionSteps(bundle.beside([word]), modality, output_dir, path, seed))
    return found
