# SPDX-License-Identifier: Apache-2.0
"""Figure 3: from no finding to a finding by the weights of two words, in three kinds of images."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medti_components.apps.reproduction.grid_table import GridCells
from medti_components.apps.reproduction.inversion_steps import InversionSteps
from medti_components.apps.reproduction.measurements import (
    Measurement,
    TwoClassView,
    metrics_estimate,
    write_measurements,
)
from medti_components.apps.reproduction.step_chain import Step
from medti_components.data.requests.generation_requests import InterpolationRequests
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.visualize.picture_grid import PictureGrid, channel

SEQUENCES = ("T2W", "ADC", "high-b DWI")
PAPER = "seems to work well across the modalities (pictures alone)"


@dataclass(frozen=True)
class Interpolation:
    """Images from a bundle's word of no finding to another one, a row a seed of noise."""

    inversion: InversionSteps
    concept: str
    num_rows: int

    @property
    def finding(self) -> str:
        """The word in words."""
        return self.concept.strip("<>").removeprefix(f"{self.inversion.modality}_")

    @property
    def concepts(self) -> list[str]:
        """From where to where."""
        return [self.inversion.concepts[0], self.concept]

    def steps(self) -> list[Step]:
        """Return the commands, the interpolating one last."""
        chain = self.inversion.training(self.inversion.seed)
        keys = {"seed": self._seed, "num_images": self.num_rows, "concepts": self.concepts}
        name = f"interpolated/{self.num_rows}_rows/{self.finding}"
        step = self.inversion.images(name, "interpolating", chain[-1], keys, rows=len(self._weights))
        return [*chain, step]

    def first_row(self, done: Collection[str]) -> list[tuple[str, np.ndarray | None]]:
        """Return the pictures of the first seed with their titles; None for those that are not there."""
        step = self.steps()[-1]
        requests = InterpolationRequests(self.concepts, 1, self._seed, self._weights)
        return [
            (
                f"{100 * item['interpolation_weight']:g} %",
                self.inversion.picture(step, f"images/{item['name']}.png", done),
            )
            for item in (requests[index] for index in range(len(requests)))
        ]

    @property
    def _seed(self) -> int:
        return self.inversion.image_seed(self.inversion.seed)

    @property
    def _weights(self) -> list[float]:
        return list(self.inversion.bundle.content("inference")["interpolation_weights"])


@dataclass(frozen=True)
class InterpolationFigure:
    """Makes the rows, shows the first of each, and measures whether the finding grows along all.

    Args:
        prostate, chest, histopathology: the bundles on their cases.
        num_pictures: rows of each pair of words.
    """

    prostate: InversionSteps
    chest: InversionSteps
    histopathology: InversionSteps
    num_pictures: int
    name: str = "figure3"

    def steps(self) -> list[Step]:
        """Return all commands."""
        return [
            *(step for each in self._interpolations() for step in each.steps()),
            *(step for each in (self.prostate, self.histopathology) for step in default_evaluation(each)),
            self._chest_evaluation(),
        ]

    def write(self, folder: Path, done: Collection[str]) -> Iterator[str]:
        """Write ``figure3.png``, ``.csv`` and ``.md``."""
        grid = PictureGrid("Synthetic images, healthy to diseased, each row of one seed")
        for each in self._interpolations():
            pictures = each.first_row(done)
            if each.inversion is self.prostate:
                for index, sequence in enumerate(SEQUENCES):
                    grid.add(sequence, [(title, channel(picture, index)) for title, picture in pictures])
            else:
                grid.add(each.finding.replace("_", " "), pictures)
        yield f"{grid.write(folder / f'{self.name}.png').name} in {folder}"
        rows = [
            Measurement(f"Spearman of weight and log-odds, {each.finding}", self._trend(each, done), PAPER)
            for each in self._interpolations()
        ]
        yield from write_measurements(folder, self.name, rows)

    def _interpolations(self) -> list[Interpolation]:
        return [
            Interpolation(inversion, concept, self.num_pictures)
            for inversion in (self.prostate, self.chest, self.histopathology)
            for concept in inversion.concepts[1:]
        ]

    def _chest_evaluation(self) -> Step:
        steps = [each.steps()[-1] for each in self._interpolations() if each.inversion is self.chest]
        folder = self.chest.folder(steps[0]).parent
        return finding_evaluation(self.chest, self.name, {"interpolated_dir": folder}, steps)

    def _trend(self, each: Interpolation, done: Collection[str]) -> IntervalEstimate | None:
        if each.inversion is self.chest:
            step = self._chest_evaluation()
            path = self.chest.folder(step) / "metrics.json"
            name = " to ".join(each.concepts)
            return metrics_estimate(path, "interpolation", name) if step.name in done else None
        steps = [each.steps()[-1], default_evaluation(each.inversion)[-1]]
        if not {step.name for step in steps} <= {*done}:
            return None
        return two_class_view(each.inversion).trend(each.inversion.folder(steps[0]))


def default_evaluation(inversion: InversionSteps) -> list[Step]:
    """Return the commands up to the evaluation of the config's own setting, whose classifier judges other images."""
    cells = GridCells(inversion)
    return cells.evaluating(cells.default, inversion.seed)


def two_class_view(inversion: InversionSteps) -> TwoClassView:
    """Return the classifier of :func:`default_evaluation`."""
    classifier = inversion.folder(default_evaluation(inversion)[-1]) / "classifier.safetensors"
    return TwoClassView(classifier, inversion.concepts, inversion.bundle.content("evaluate")["image_size"])


def finding_evaluation(inversion: InversionSteps, name: str, folders: dict[str, Path], needs: list[Step]) -> Step:
    """Return the command that judges folders of images by a classifier of several findings."""
    keys: dict[str, object] = {**folders}
    if "parts" in inversion.bundle.content("evaluate"):
        keys["parts"] = []
    return inversion.evaluating(f"evaluated/{name}", inversion.seed, keys, needs)
