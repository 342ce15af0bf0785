# SPDX-License-Identifier: Apache-2.0
"""The commands of table 4: words, their images, then a training and an evaluation for each cell, a row and a seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medti_components.apps.reproduction.classifier_bundle import SPLIT_KEYS, ClassifierBundle
from medti_components.apps.reproduction.stage import Stage
from medti_components.apps.reproduction.table4_row import Table4Row
from medti_components.data.classification.classified_cases import PROBABILITIES_FILE

CLASSIFIER_FILE = "classifier.safetensors"


@dataclass(frozen=True)
class Table4Stages:
    """Makes the commands.

    Args:
        bundle: the classifier's and the textual inversion's configs.
        dataset_dir: the real cases.
        output_dir: folder of everything.
        rows: of the table.
        num_seeds: cells of each row.
        num_few_cases: cases of each class that the few words are learned from.
        embeddings: folders of words learned before, of all training cases and of few; None learns them.
    """

    bundle: ClassifierBundle
    dataset_dir: Path
    output_dir: Path
    rows: Sequence[Table4Row]
    num_seeds: int
    num_few_cases: int
    embeddings: tuple[Path | None, Path | None]

    def stages(self) -> list[Stage]:
        """Return all commands, each after those that it needs."""
        settings = self.bundle.settings
        chain = [
            *self._images("words", settings["num_training_cases"], self.embeddings[0], has_few_words=False),
            *self._images("few_words", self.num_few_cases, self.embeddings[1], has_few_words=True),
        ]
        for seed in range(self.num_seeds):  # so that whole seeds are there first
            for row in self.rows:
                chain += self._cell(row, seed)
        return chain

    def cell_name(self, row: str, seed: int) -> str:
        """Return the name of a cell, which is also its folder in ``output_dir``."""
        return f"cells/{row}/seed_{seed}"

    def probabilities(self, row: Table4Row, seed: int) -> Path:
        """Return where a cell's test cases are."""
        return self.output_dir / self.cell_name(row.name, seed) / "evaluating" / PROBABILITIES_FILE

    def _images(self, name: str, num_cases: int, embeddings: Path | None, has_few_words: bool) -> list[Stage]:
        settings, shared = self.bundle.settings, {"show_progress": "true", "seed": self.bundle.settings["split_seed"]}
        needs: tuple[str, ...] = ()
        chain = []
        if embeddings is None:
            keys: dict[str, Any] = {
                **shared,
                "dataset_dir": self.dataset_dir,
                "cache_dir": self.output_dir / "cache",
                "output_dir": self.output_dir / name,
                "concepts": settings["concepts"],
                "num_cases": num_cases,
                "num_validation_cases": settings["num_validation_cases"],
            }
            needs = (f"{name}/words",)
            chain.append(self.bundle.words.stage(needs[0], "training", "train", keys))
            embeddings = self.output_dir / name / "embeddings"
        number = max(row.num_synthetic for row in self.rows if row.has_few_words is has_few_words)
        keys = {
            **shared,
            "embeddings": embeddings,
            "output_dir": self._images_dir(has_few_words),
            "num_images": number // 2,
        }
        return [*chain, self.bundle.words.stage(f"{name}/images", "generating", "inference", keys, needs)]

    def _images_dir(self, has_few_words: bool) -> Path:
        return self.output_dir / ("few_words" if has_few_words else "words") / "images"

    def _cell(self, row: Table4Row, seed: int) -> list[Stage]:
        name = self.cell_name(row.name, seed)
        folder = self.output_dir / name
        shared = {
            "dataset_dir": self.dataset_dir,
            "cache_dir": self.output_dir / "cache",
            "seed": seed,
            "show_progress": "true",
        }
        keys = {
            **shared,
            "output_dir": folder / "training",
            "num_real": row.num_real,
            "num_synthetic": row.num_synthetic,
            **row.keys,
        }
        needs: tuple[str, ...] = ()
        if row.num_synthetic:
            keys["synthetic_dir"] = self._images_dir(row.has_few_words)
            needs += ("few_words/images" if row.has_few_words else "words/images",)
        if row.initial_row is not None:
            initial = self.cell_name(row.initial_row, seed)
            keys["initial_classifier"] = self.output_dir / initial / "training" / CLASSIFIER_FILE
            needs += (f"{initial}/training",)
        training = self.bundle.classifier.stage(f"{name}/training", "training", "train", keys, needs)
        keys = {**shared, "classifier": folder / "training" / CLASSIFIER_FILE, "output_dir": folder / "evaluating"}
        keys |= {key: self.bundle.settings[key] for key in SPLIT_KEYS}
        evaluating = self.bundle.classifier.stage(
            f"{name}/evaluating", "evaluating", "evaluate", keys, (training.name,)
        )
        return [training, evaluating]
