# SPDX-License-Identifier: Apache-2.0
"""The command ``reproduce``: tables of the paper by the bundles' own commands, gone on with where they stopped."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medti_components.apps.reproduction.auc_table import AucTable
from medti_components.apps.reproduction.classifier_bundle import KEYS, ClassifierBundle
from medti_components.apps.reproduction.stage_chain import StageChain, gpus, num_cores
from medti_components.apps.reproduction.table4_row import table4_rows
from medti_components.apps.reproduction.table4_stages import Table4Stages
from medti_components.errors import ConfigError, TrainingError
from medti_components.files import ensure_writable_directory, write_text_atomically
from medti_components.metrics.classified_cases import ClassifiedCases

SETTINGS_FILE = "table4.json"


class Reproduce:
    """Reproduce tables of "Medical diffusion on a budget" (MIDL 2024) on one's own data."""

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
        for key, number, least in (
            ("num_seeds", num_seeds, 1),
            ("num_few_cases", num_few_cases, 1),
            ("num_processes", num_processes, 0),
        ):
            if number < least:
                raise ConfigError(f"{key} must be at least {least}, got {number}: correct --{key}")
        rows = table4_rows(num_real, num_synthetic)
        bundle = ClassifierBundle.of(config_file)
        folder = ensure_writable_directory(output_dir).resolve()
        settings = {
            **bundle.settings,
            "dataset_dir": str(Path(dataset_dir or bundle.settings["dataset_dir"]).resolve()),
        }
        _check_same_cases(folder / SETTINGS_FILE, settings)
        words = tuple(Path(path).resolve() if path else None for path in (embeddings, few_embeddings))
        for key, path in zip(("embeddings", "few_embeddings"), words, strict=True):
            if path is not None and not path.is_dir():
                raise ConfigError(f"{key} '{path}' is no folder: correct --{key}, or leave it out to learn the words")
        table4 = Table4Stages(
            bundle, Path(settings["dataset_dir"]), folder, rows, num_seeds, num_few_cases, (words[0], words[1])
        )
        chain = StageChain(table4.stages(), folder, num_processes or len(gpus()) or num_cores())
        if dry_run:
            for stage in chain.stages:
                yield f"{stage.name}: {'done' if chain.is_done(stage) else 'to do'}"
            return
        write_text_atomically(folder / SETTINGS_FILE, json.dumps(settings, indent=4) + "\n")
        yield from chain.run()
        done = {stage.name for stage in chain.stages if chain.is_done(stage)}
        cells = [
            (
                row,
                {
                    seed: ClassifiedCases.read_table(table4.probabilities(row, seed), settings["concepts"])
                    for seed in range(num_seeds)
                    if f"{table4.cell_name(row.name, seed)}/evaluating" in done
                },
            )
            for row in rows
        ]
        table = AucTable(cells)
        paths = table.write(folder, "table4")
        yield f"\n{table.markdown()}"
        yield f"{', '.join(path.name for path in paths)} in {folder}"
        if chain.failed:
            name, reason = next(iter(chain.failed.items()))
            raise TrainingError(f"{len(chain.failed)} of {len(chain.stages)} commands failed, first {name}: {reason}")


def _check_same_cases(path: Path, settings: Mapping[str, Any]) -> None:
    """See to it that a folder's cells are all trained, validated and tested on the cases of one split.

    Raises:
        ConfigError: the folder is of other cases.
    """
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        for key in KEYS:
            if before.get(key) != settings[key]:
                raise ConfigError(
                    f"{key} is {settings[key]!r}, but the cells in '{path.parent}' are of {before.get(key)!r}: choose "
                    "another --output_dir"
                )
