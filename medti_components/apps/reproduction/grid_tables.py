# SPDX-License-Identifier: Apache-2.0
"""Tables 1 to 3, image quality over settings varied one at a time, and figure 2, the same in pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medti_components.apps.reproduction.bundle_runs import InversionSteps, Step, image_names, picture_of
from medti_components.apps.reproduction.quality_table import (
    TABLES,
    TITLES,
    CellQuality,
    GridCell,
    GridSetting,
    ParameterGrid,
    QualityTable,
)
from medti_components.visualize.picture_grid import PictureGrid, channel


@dataclass(frozen=True)
class GridCells:
    """Steps of settings: words, images of them, and their evaluation. Cells of the same words share the training.

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

    def generating(self, setting: GridSetting, seed: int) -> Step:
        """Return the step of the images: of each word as many as the evaluation holds beside real ones."""
        keys = {
            "seed": self.inversion.image_seed(seed),
            "num_images": self.inversion.bundle.content("evaluate")["num_test_cases"],
            "num_inference_steps": setting.num_inference_steps,
            "guidance_scale": setting.guidance_scale,
        }
        words = self.inversion.training(seed, setting.num_vectors, setting.num_cases)
        return self.inversion.images(f"{setting.name}/seed_{seed}/generated", "generating", words, keys)

    def evaluating(self, setting: GridSetting, seed: int) -> Step:
        """Return the step of the evaluation."""
        images = self.generating(setting, seed)
        keys: dict[str, Any] = {"generated_dir": images.folder}
        if "quality" in self.inversion.bundle.content("evaluate"):
            keys["parts"] = ["@quality"]
        return self.inversion.evaluating(f"{setting.name}/seed_{seed}/evaluated", seed, keys, [images])


@dataclass(frozen=True)
class GridTable:
    """Table 1, 2 or 3.

    Args:
        name: a key of ``TABLES``.
        cells: makes the steps.
        grid: which cells.
    """

    name: str
    cells: GridCells
    grid: ParameterGrid
    endings: Sequence[str] = ("csv", "md", "png")

    def steps(self) -> list[Step]:
        """Return the last step of each cell, whole seeds first."""
        return [
            self.cells.evaluating(cell.setting, seed)
            for seed in self.cells.seeds
            for cell in self.grid.cells(self.name)
        ]

    def write(self, folder: Path) -> None:
        """Write ``<name>.csv``, ``.md`` and ``.png``."""
        QualityTable([(cell, self._measured(cell)) for cell in self.grid.cells(self.name)]).write(folder, self.name)

    def _measured(self, cell: GridCell) -> dict[int, CellQuality]:
        steps = {seed: self.cells.evaluating(cell.setting, seed) for seed in self.cells.seeds}
        concepts = self.cells.inversion.concepts
        return {seed: CellQuality.read(step.result, concepts) for seed, step in steps.items() if step.is_done}


@dataclass(frozen=True)
class ParameterPictures:
    """Figure 2: one picture of each word in each cell of tables 1 to 3, all of one seed; the first channel alone."""

    cells: GridCells
    grid: ParameterGrid
    name: str = "figure2"
    endings: Sequence[str] = ("png",)

    def steps(self) -> list[Step]:
        """Return the steps of the cells' images."""
        return [self._generating(cell) for cell in self._grid_cells()]

    def write(self, folder: Path) -> None:
        """Write ``figure2.png``."""
        inversion = self.cells.inversion
        names = image_names(inversion.concepts, 1, inversion.image_seed(inversion.seed))
        pictures = PictureGrid("Synthetic images of one seed, first channel")
        for axis in TITLES:
            for concept, (name,) in names.items():
                row = []
                for cell in (each for each in self._grid_cells() if each.axis == axis):
                    title = f"{cell.value:g}" + (" (default)" if cell.is_default else "")
                    row.append((title, channel(picture_of(self._generating(cell), f"images/{name}.png"), 0)))
                pictures.add(f"{TITLES[axis]}\n{concept.strip('<>').rpartition('_')[2]}", row)
        pictures.write(folder / f"{self.name}.png")

    def _grid_cells(self) -> list[GridCell]:
        return [cell for table in TABLES for cell in self.grid.cells(table)]

    def _generating(self, cell: GridCell) -> Step:
        return self.cells.generating(cell.setting, self.cells.inversion.seed)
