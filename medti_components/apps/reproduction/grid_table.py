# SPDX-License-Identifier: Apache-2.0
"""Tables 1 to 3, image quality over settings varied one at a time, and figure 2, the same in pictures."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medti_components.apps.reproduction.inversion_steps import InversionSteps, image_names
from medti_components.apps.reproduction.parameter_grid import TABLES, TITLES, GridCell, GridSetting, ParameterGrid
from medti_components.apps.reproduction.quality_table import CellQuality, QualityTable
from medti_components.apps.reproduction.step_chain import Step
from medti_components.visualize.picture_grid import PictureGrid, channel


@dataclass(frozen=True)
class GridCells:
    """Commands of settings: words, images of them, and their evaluation. Cells of the same words share the training.

    Args:
        inversion: the bundle on its cases.
        num_seeds: trainings of each setting, from the first seed on.
    """

    inversion: InversionSteps
    num_seeds: int = 1

    @property
    def default(self) -> GridSetting:
        """What the configs say."""
        train, inference = (self.inversion.bundle.content(name) for name in ("train", "inference"))
        return GridSetting(
            inference["num_inference_steps"],
            float(inference["guidance_scale"]),
            train["num_vectors"],
            train["num_cases"],
        )

    @property
    def seeds(self) -> range:
        """Of the trainings."""
        return range(self.inversion.seed, self.inversion.seed + self.num_seeds)

    def generating(self, setting: GridSetting, seed: int) -> list[Step]:
        """Return the commands up to the images: of each word as many as the evaluation holds beside real ones."""
        chain = self.inversion.training(seed, setting.num_vectors, setting.num_cases)
        keys = {
            "seed": self.inversion.image_seed(seed),
            "num_images": self.inversion.bundle.content("evaluate")["num_test_cases"],
            "num_inference_steps": setting.num_inference_steps,
            "guidance_scale": setting.guidance_scale,
        }
        rows = len(self.inversion.concepts)
        name = f"{setting.name}/seed_{seed}/generated"
        return [*chain, self.inversion.images(name, "generating", chain[-1], keys, rows=rows)]

    def evaluating(self, setting: GridSetting, seed: int) -> list[Step]:
        """Return the commands up to the evaluation."""
        chain = self.generating(setting, seed)
        evaluate = self.inversion.bundle.content("evaluate")
        keys: dict[str, Any] = {"generated_dir": self.inversion.folder(chain[-1])}
        if "quality" in evaluate:
            keys["parts"] = ["@quality"]
        name = f"{setting.name}/seed_{seed}/evaluated"
        return [*chain, self.inversion.evaluating(name, seed, keys, chain[-1:])]


@dataclass(frozen=True)
class GridTable:
    """Table 1, 2 or 3.

    Args:
        name: a key of ``TABLES``.
        cells: commands.
        grid: which cells.
    """

    name: str
    cells: GridCells
    grid: ParameterGrid

    def steps(self) -> list[Step]:
        """Return all commands, whole seeds first."""
        return [
            step
            for seed in self.cells.seeds
            for cell in self.grid.cells(self.name)
            for step in self.cells.evaluating(cell.setting, seed)
        ]

    def write(self, folder: Path, done: Collection[str]) -> Iterator[str]:
        """Write ``<name>.csv``, ``.md`` and ``.png``."""
        table = QualityTable([(cell, self._measured(cell, done)) for cell in self.grid.cells(self.name)])
        paths = table.write(folder, self.name)
        yield f"\n{table.markdown()}"
        yield f"{', '.join(path.name for path in paths)} in {folder}"

    def _measured(self, cell: GridCell, done: Collection[str]) -> dict[int, CellQuality]:
        found = {}
        for seed in self.cells.seeds:
            step = self.cells.evaluating(cell.setting, seed)[-1]
            if step.name in done:
                path = self.cells.inversion.folder(step) / "metrics.json"
                found[seed] = CellQuality.read(path, self.cells.inversion.concepts)
        return found


@dataclass(frozen=True)
class ParameterPictures:
    """Figure 2: one picture of each word in each cell of tables 1 to 3, all of one seed; the first channel alone."""

    cells: GridCells
    grid: ParameterGrid
    name: str = "figure2"

    def steps(self) -> list[Step]:
        """Return the commands of the cells' images."""
        return [
            step
            for table in TABLES
            for cell in self.grid.cells(table)
            for step in self.cells.generating(cell.setting, self.cells.inversion.seed)
        ]

    def write(self, folder: Path, done: Collection[str]) -> Iterator[str]:
        """Write ``figure2.png``."""
        inversion = self.cells.inversion
        names = image_names(inversion.concepts, 1, inversion.image_seed(inversion.seed))
        grid = PictureGrid("Synthetic images of one seed, first channel")
        cells = [cell for table in TABLES for cell in self.grid.cells(table)]
        for axis in TITLES:
            for concept, (name,) in names.items():
                pictures = []
                for cell in (each for each in cells if each.axis == axis):
                    step = self.cells.generating(cell.setting, inversion.seed)[-1]
                    title = f"{cell.value:g}" + (" (default)" if cell.is_default else "")
                    pictures.append((title, channel(inversion.picture(step, f"images/{name}.png", done), 0)))
                grid.add(f"{TITLES[axis]}\n{concept.strip('<>').rpartition('_')[2]}", pictures)
        yield f"{grid.write(folder / 'figure2.png').name} in {folder}"
