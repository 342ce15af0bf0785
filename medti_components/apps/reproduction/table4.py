# SPDX-License-Identifier: Apache-2.0
"""Table 4: what synthetic images are worth to a classifier."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medti_components.apps.reproduction.auc_table import AucTable
from medti_components.apps.reproduction.classifier_bundle import KEYS, ClassifierBundle
from medti_components.apps.reproduction.stage import Stage
from medti_components.apps.reproduction.table4_row import Table4Row
from medti_components.apps.reproduction.table4_stages import Table4Stages
from medti_components.data.classification.classified_cases import ClassifiedCases
from medti_components.errors import ConfigError
from medti_components.files import write_text_atomically

SETTINGS_FILE = "table4.json"


@dataclass(frozen=True)
class Table4:
    """The table of AUCs.

    Args:
        commands: of its cells.
        settings: which cases all cells are trained, validated and tested on.
    """

    commands: Table4Stages
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
        stages = Table4Stages(bundle, real, output_dir, rows, num_seeds, num_few_cases, embeddings)
        return cls(stages, settings)

    @property
    def output_dir(self) -> Path:
        """Folder of everything."""
        return self.commands.output_dir

    def write_settings(self) -> None:
        """Note whose cells the folder holds."""
        write_text_atomically(self.output_dir / SETTINGS_FILE, json.dumps(dict(self.settings), indent=4) + "\n")

    def stages(self) -> list[Stage]:
        """Return all commands, each after those that it needs."""
        return self.commands.stages()

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
