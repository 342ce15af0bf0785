# SPDX-License-Identifier: Apache-2.0
"""What the command ``reproduce`` can run: commands, and what is written of their results."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from medti_components.apps.reproduction.stage import Stage
from medti_components.apps.reproduction.stage_chain import StageChain, gpus, num_cores
from medti_components.errors import ConfigError, TrainingError


class Experiment(Protocol):
    """A table or a figure of the paper."""

    @property
    def name(self) -> str:
        """Of its files."""
        ...

    def stages(self) -> list[Stage]:
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
    stages = {stage.name: stage for experiment in experiments for stage in experiment.stages()}
    chain = StageChain(list(stages.values()), folder, num_processes or len(gpus()) or num_cores())
    if dry_run:
        yield from chain.plan()
        return
    yield from chain.run()
    done = {stage.name for stage in chain.stages if chain.is_done(stage)}
    for experiment in experiments:
        yield from experiment.write(folder, done)
    if chain.failed:
        name, reason = next(iter(chain.failed.items()))
        raise TrainingError(f"{len(chain.failed)} of {len(chain.stages)} commands failed, first {name}: {reason}")
