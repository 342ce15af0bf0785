# SPDX-License-Identifier: Apache-2.0
"""The command ``reproduce``: the paper's tables and figures by the bundles' own commands, as a Snakemake workflow."""

import fcntl
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medti_components.apps.reproduction.workflow import (
    MINIATURE,
    PAPER_TARGETS,
    Experiment,
    experiments_of,
    steps_of,
    write_plan,
)
from medti_components.errors import ConfigError, TrainingError
from medti_components.files import ensure_writable_directory

if TYPE_CHECKING:
    from medti_components.apps.reproduction.bundle_runs import Step

SNAKEFILE = Path(__file__).resolve().parents[2] / "workflow" / "Snakefile"
SNAKEMAKE_OPTIONS = ("--nolock", "--keep-going", "--rerun-incomplete")


def run_workflow(
    kind: str,
    targets: Sequence[str],
    output_dir: str,
    options: Mapping[str, Any],
    jobs: int,
    executor: str,
    profile: str,
    dry_run: bool,
) -> Iterator[str]:
    """Let Snakemake run what is missing for ``targets``, tables and figures of a kind; yield the tables.

    Args:
        kind: of experiments, see ``KINDS`` of the workflow.
        targets: their names.
        output_dir: folder of everything.
        options: of the kind of experiments.
        jobs: steps at a time; 0 takes one per GPU, or one per core.
        executor: of Snakemake; "" is the profile's, or this machine.
        profile: folder or name of a profile of Snakemake; "" for none.
        dry_run: show what would be run.

    Raises:
        ConfigError: an option does not fit, or Snakemake or its executor is not installed.
        TrainingError: a step failed; all that do not need it were run, and what there is was written.
    """
    _check_installed(executor)
    if jobs < 0:
        raise ConfigError(f"jobs must be at least 0, got {jobs}: correct --jobs")
    folder = ensure_writable_directory(output_dir).resolve()
    experiments = experiments_of(folder, {kind: options})
    chosen = [each for each in experiments if each.name in targets]
    # every result is asked for: Snakemake does not miss one that has gone as long as what was made of it is there
    wanted = [*targets, *(str(step.result.relative_to(folder)) for step in steps_of(chosen).values())]
    plan = folder / "workflow" / f"{kind}{'_dry_run' if dry_run else ''}.json"
    own = {"snakefile": SNAKEFILE, "directory": folder, "configfile": plan, "executor": executor, "profile": profile}
    given = [text for key, value in own.items() if value for text in (f"--{key}", str(value))]
    threads = 1
    if executor in ("", "local") and not profile:
        limits, threads = _local_limits(jobs)
        given += limits
    elif jobs:
        given += ["--jobs", str(jobs)]
    elif not profile:
        raise ConfigError(f"jobs must be given with executor '{executor}': add --jobs, the steps at a time")
    command = [sys.executable, "-m", "snakemake", *given, *SNAKEMAKE_OPTIONS]
    if dry_run:
        write_plan(plan, folder, {kind: options}, experiments, threads)
        run_command([*command, "--dry-run", "--printshellcmds", *wanted])
        return
    with _locked(folder):
        write_plan(plan, folder, {kind: options}, experiments, threads)
        status = run_command([*command, *wanted])
        if status != 0:
            for experiment in chosen:
                experiment.write(folder)
    for experiment in chosen:
        if "md" in experiment.endings:
            yield f"\n{(folder / f'{experiment.name}.md').read_text(encoding='utf-8')}"
        yield f"{', '.join(f'{experiment.name}.{ending}' for ending in experiment.endings)} in {folder}"
    if status != 0:
        raise TrainingError(_failure(chosen, folder, status))


def _check_installed(executor: str) -> None:
    """Raise ConfigError where Snakemake, the executor's plugin or the Snakefile is missing."""
    if importlib.util.find_spec("snakemake") is None:
        raise ConfigError("Snakemake is not installed: pip install 'medti[workflow]'")
    plugin = f"snakemake_executor_plugin_{executor.replace('-', '_')}"
    if executor not in ("", "local") and importlib.util.find_spec(plugin) is None:
        package = plugin.replace("_", "-")
        raise ConfigError(
            f"executor '{executor}' is not installed: pip install {package} on Python 3.11 or newer, or leave out "
            "--executor"
        )
    if not SNAKEFILE.is_file():
        raise ConfigError(
            f"'{SNAKEFILE}' is missing: run reproduce from a clone, installed with pip install --editable"
        )


def run_command(command: Sequence[str]) -> int:
    """Run Snakemake on this terminal, and return its exit status; an interruption waits until its jobs have ended."""
    with subprocess.Popen(command, close_fds=False) as process:  # so that it holds the folder's lock too
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.wait()
            raise


def _local_limits(jobs: int) -> tuple[list[str], int]:
    """Return options that limit the jobs on this machine, one GPU each, and the threads of each job."""
    import torch  # here, since the help needs no PyTorch

    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    num_gpus = torch.cuda.device_count()
    jobs = jobs or num_gpus or num_cores
    threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, num_cores // jobs))
    gpus = ["--resources", f"gpu={num_gpus}"] if num_gpus else []
    return ["--cores", str(jobs * threads), *gpus], threads


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other runs from a folder; unlike Snakemake's own lock, it is gone when the processes that hold it are."""
    with open(folder / ".lock", "w") as file:
        os.set_inheritable(file.fileno(), True)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"output_dir '{folder}' is in use by another run: wait, or choose another") from error
        yield


def _failure(experiments: Sequence[Experiment], folder: Path, status: int) -> str:
    """Say how many steps are not done, and why the first of them failed."""
    steps = steps_of(experiments).values()
    missing = [step for step in steps if not step.is_done]
    failed = [step for step in missing if all(need.is_done for need in step.needs) and _log(step, folder).is_file()]
    if not failed:
        return f"Snakemake ended with status {status} and no step failed: see its lines above"
    name, log = failed[0].folder.relative_to(folder), _log(failed[0], folder)
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    reason = next((line for line in reversed(lines) if line.strip()), "no output")
    return f"{len(missing)} of {len(steps)} steps are not done, first {name}: {reason} ({log})"


def _log(step: "Step", folder: Path) -> Path:
    return folder / "logs" / f"{step.folder.relative_to(folder)}.log"


def _command(names: tuple[str, ...], what: str) -> Callable[..., Iterator[str]]:
    """Return a method of :class:`Reproduce`; all but that of table 4 take the same options."""

    def command(
        self: "Reproduce",
        output_dir: str,
        config_file: str = MINIATURE,
        dataset_dir: str = "",
        chest_dataset_dir: str = "",
        histopathology_dataset_dir: str = "",
        num_inference_steps: Any = (25, 50, 75, 100),
        guidance_scale: Any = (1, 2, 3, 4, 5),
        num_vectors: Any = (8, 16, 32, 64),
        num_cases: Any = (5, 10, 50, 100),
        num_pictures: int = 8,
        num_seeds: int = 1,
        seed: int = 0,
        jobs: int = 0,
        executor: str = "",
        profile: str = "",
        dry_run: bool = False,
    ) -> Iterator[str]:
        del self
        options = {
            "config_file": config_file,
            "dataset_dir": dataset_dir,
            "chest_dataset_dir": chest_dataset_dir,
            "histopathology_dataset_dir": histopathology_dataset_dir,
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "num_vectors": num_vectors,
            "num_cases": num_cases,
            "num_pictures": num_pictures,
            "num_seeds": num_seeds,
            "seed": seed,
        }
        return run_workflow("paper", names, output_dir, options, jobs, executor, profile, dry_run)

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
            num_vectors: vectors per word to compare; the config's are added.
            num_cases: training cases per word to compare; the config's are added, which are the most.
            num_pictures: images of each kind in figures 3 to 6, and of composed, interpolated and painted words.
            num_seeds: trainings of each cell of tables 1 to 3, and of the words.
            seed: of the first training, of phantoms and of images.
            jobs: steps at a time; 0 takes one per GPU, or one per core.
            executor: of Snakemake, such as slurm; this machine where it is left out.
            profile: of Snakemake, such as workflow/profiles/slurm.
            dry_run: show what would be run and why, run nothing.
        """
    command.__name__ = names[0] if len(names) == 1 else "all"
    command.__qualname__ = f"Reproduce.{command.__name__}"
    return command


class Reproduce:
    """Reproduce tables and figures of "Medical diffusion on a budget" (MIDL 2024) on one's own data."""

    table1 = _command(("table1",), "Compare image quality over sampling steps and guidance scales.")
    table2 = _command(("table2",), "Compare image quality over vectors per word.")
    table3 = _command(("table3",), "Compare image quality over training cases.")
    figure2 = _command(("figure2",), "Show one picture of each cell of tables 1 to 3, all of one seed.")
    figure3 = _command(("figure3",), "Go from healthy to diseased in prostate MRI, radiographs and histopathology.")
    figure4 = _command(("figure4",), "Add findings to a radiograph one by one.")
    figure5 = _command(("figure5",), "Paint effusion and pneumonia into the lower left lung of healthy radiographs.")
    figure6 = _command(("figure6",), "Paint lesions into a healthy prostate at two places in two sizes.")
    all = _command(PAPER_TARGETS, "Make tables 1 to 3 and figures 2 to 6.")
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
        jobs: int = 0,
        executor: str = "",
        profile: str = "",
        dry_run: bool = False,
    ) -> Iterator[str]:
        """Train classifiers on mixes of real and synthetic images and test all on the same cases.

        The seven rows of table 4 and four controls, each with seeds 0 to ``num_seeds`` - 1. Words and images that are
        missing are made first. The same command goes on where it was broken off: what is done is not done again, and
        what a changed setting touches is. Leaves table4.csv, table4.md and table4.png in ``output_dir``, and a folder
        per cell.

        Args:
            config_file: the classification bundle's train.json, or a list of it and overlays, which are laid over the
                textual inversion's configs too.
            output_dir: folder for everything.
            dataset_dir: the real cases; by default the config's; "phantoms" draws hard ones.
            num_seeds: trainings of each row.
            num_real: real images to train on, half of each class.
            num_synthetic: synthetic images, half of each class, where there are many.
            num_few_cases: cases of each class for the words of few cases.
            embeddings: folder of words learned before from the training cases; empty learns them.
            few_embeddings: the same of the few cases.
            jobs: steps at a time; 0 takes one per GPU, or one per core.
            executor: of Snakemake, such as slurm; this machine where it is left out.
            profile: of Snakemake, such as workflow/profiles/slurm.
            dry_run: show what would be run and why, run nothing.
        """
        options = {
            "config_file": config_file,
            "dataset_dir": dataset_dir,
            "num_seeds": num_seeds,
            "num_real": num_real,
            "num_synthetic": num_synthetic,
            "num_few_cases": num_few_cases,
            "embeddings": embeddings,
            "few_embeddings": few_embeddings,
        }
        return run_workflow("table4", ["table4"], output_dir, options, jobs, executor, profile, dry_run)
