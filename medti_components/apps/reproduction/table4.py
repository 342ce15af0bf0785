# SPDX-License-Identifier: Apache-2.0
"""Table 4: what synthetic images are worth to a classifier."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medti_components.apps.reproduction.auc_table import AucTable, Table4Row
from medti_components.apps.reproduction.bundle_configs import BundleConfigs
from medti_components.apps.reproduction.step_chain import Step
from medti_components.data.classification.classified_cases import PROBABILITIES_FILE, ClassifiedCases
from medti_components.errors import ConfigError
from medti_components.files import write_text_atomically

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


CLASSIFIER_FILE = "classifier.safetensors"


@dataclass(frozen=True)
class Table4Steps:
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

    def steps(self) -> list[Step]:
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

    def _images(self, name: str, num_cases: int, embeddings: Path | None, has_few_words: bool) -> list[Step]:
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
            chain.append(self.bundle.words.step(needs[0], "training", "train", keys))
            embeddings = self.output_dir / name / "embeddings"
        number = max(row.num_synthetic for row in self.rows if row.has_few_words is has_few_words)
        keys = {
            **shared,
            "embeddings": embeddings,
            "output_dir": self._images_dir(has_few_words),
            "num_images": number // 2,
        }
        return [*chain, self.bundle.words.step(f"{name}/images", "generating", "inference", keys, needs)]

    def _images_dir(self, has_few_words: bool) -> Path:
        return self.output_dir / ("few_words" if has_few_words else "words") / "images"

    def _cell(self, row: Table4Row, seed: int) -> list[Step]:
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
        training = self.bundle.classifier.step(f"{name}/training", "training", "train", keys, needs)
        keys = {**shared, "classifier": folder / "training" / CLASSIFIER_FILE, "output_dir": folder / "evaluating"}
        keys |= {key: self.bundle.settings[key] for key in SPLIT_KEYS}
        evaluating = self.bundle.classifier.step(f"{name}/evaluating", "evaluating", "evaluate", keys, (training.name,))
        return [training, evaluating]


SETTINGS_FILE = "table4.json"


@dataclass(frozen=True)
class Table4:
    """The table of AUCs.

    Args:
        commands: of its cells.
        settings: which cases all cells are trained, validated and tested on.
    """

    commands: Table4Steps
    settings: Mapping[str, Any]
    name: str = "table4"

    @classmethod
    def of(
        cls,
        bundle: ClassifierBundle,
        output_dir: Path,
        dataset_dir: str,
        rows: Sequence[Table4Row],
        num_seeds: int,
        num_few_cases: int,
        embeddings: tuple[Path | None, Path | None],
    ) -> "Table4":
        """Return the table on the cases of ``dataset_dir``, or of the config's where that is empty.

        Raises:
            ConfigError: the folder's cells are of other cases.
        """
        real = Path(dataset_dir or bundle.settings["dataset_dir"]).resolve()
        settings = {**bundle.settings, "dataset_dir": str(real)}
        _check_same_cases(output_dir / SETTINGS_FILE, settings)
        steps = Table4Steps(bundle, real, output_dir, rows, num_seeds, num_few_cases, embeddings)
        return cls(steps, settings)

    @property
    def output_dir(self) -> Path:
        """Folder of everything."""
        return self.commands.output_dir

    def write_settings(self) -> None:
        """Note whose cells the folder holds."""
        write_text_atomically(self.output_dir / SETTINGS_FILE, json.dumps(dict(self.settings), indent=4) + "\n")

    def steps(self) -> list[Step]:
        """Return all commands, each after those that it needs."""
        return self.commands.steps()

    def write(self, folder: Path, done: Collection[str]) -> Iterator[str]:
        """Write ``table4.csv``, ``.md`` and ``.png``."""
        cells = [
            (
                row,
                {
                    seed: ClassifiedCases.read_table(self.commands.probabilities(row, seed), self.settings["concepts"])
                    for seed in range(self.commands.num_seeds)
                    if f"{self.commands.cell_name(row.name, seed)}/evaluating" in done
                },
            )
            for row in self.commands.rows
        ]
        table = AucTable(cells)
        paths = table.write(folder, self.name)
        yield f"\n{table.markdown()}"
        yield f"{', '.join(path.name for path in paths)} in {folder}"


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
