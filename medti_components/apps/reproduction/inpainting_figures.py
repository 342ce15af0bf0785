# SPDX-License-Identifier: Apache-2.0
"""Figures 5 and 6: findings painted into generated healthy pictures, at chosen places and sizes."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medti_components.apps.reproduction.composition_figure import FINDINGS, HEALTHY, Compositions
from medti_components.apps.reproduction.interpolation_figure import (
    SEQUENCES,
    default_evaluation,
    finding_evaluation,
    two_class_view,
)
from medti_components.apps.reproduction.inversion_steps import InversionSteps, image_names
from medti_components.apps.reproduction.measurements import Measurement, metrics_estimate, write_measurements
from medti_components.apps.reproduction.step_chain import Step
from medti_components.visualize.picture_grid import PictureGrid, channel, outlined

LOWER_LEFT_LUNG = "ellipse(70,68,16,18) %"
PAINTED = FINDINGS[:2]
PLACES_MM = {"right": (-18.0, 6.0), "left": (18.0, 6.0)}  # (x, y) from the middle of the image
RADII_MM = {"small": 6.0, "large": 12.0}
MEASURED = {"seen_inside": "seen after, not before", "unchanged_outside": "unchanged outside"}
PAPER = "the finding appears where it is painted (pictures alone)"


@dataclass(frozen=True)
class PaintedRadiographs:
    """Figure 5: effusion and pneumonia painted into the lower left lung of healthy pictures.

    Args:
        chest: the bundle on its cases.
        num_pictures: healthy pictures, each painted into once a finding; the first is shown.
    """

    chest: InversionSteps
    num_pictures: int
    name: str = "figure5"

    def steps(self) -> list[Step]:
        """Return all commands."""
        alone = self._compositions.steps()[:-1]
        painting = [step for finding in PAINTED for step in self._painting(finding)]
        return [*alone, *painting, self._evaluation()]

    def write(self, folder: Path, done: Collection[str]) -> Iterator[str]:
        """Write ``figure5.png``, ``.csv`` and ``.md``."""
        seed, first = self._compositions.seed, {finding: self._painting(finding)[0] for finding in PAINTED}
        (healthy_name,) = image_names([HEALTHY], 1, seed)[HEALTHY]
        healthy = self.chest.picture(self._compositions.steps()[-2], f"images/{healthy_name}.png", done)
        painted = {finding: _result(self.chest, step, finding, seed, done) for finding, step in first.items()}
        pictures = [("healthy", healthy), ("mask", outlined(healthy, painted[PAINTED[0]][1]))]
        pictures += [(_title(finding), picture) for finding, (picture, _) in painted.items()]
        grid = PictureGrid("Synthetic images, painted within the outline")
        grid.add("", pictures)
        yield f"{grid.write(folder / f'{self.name}.png').name} in {folder}"
        evaluation = self._evaluation()
        metrics = self.chest.folder(evaluation) / "metrics.json"
        rows = []
        for finding in PAINTED:
            for key, what in MEASURED.items():
                name = finding.strip("<>").removeprefix("chest_xray_")
                is_done = evaluation.name in done
                figure = metrics_estimate(metrics, "inpainting", name, key) if is_done else None
                rows.append(Measurement(f"{_title(finding)}, {what}", figure, PAPER if key == "seen_inside" else ""))
        yield from write_measurements(folder, self.name, rows)

    @property
    def _compositions(self) -> Compositions:
        return Compositions(self.chest, self.num_pictures)

    def _painting(self, finding: str) -> list[Step]:
        chain = self._compositions.steps()[:-1]
        name = finding.strip("<>").removeprefix("chest_xray_")
        return [
            self.chest.images(
                f"inpainted/{self.num_pictures}_pictures/{name}_{number}",
                "inpainting",
                chain[-2],
                {
                    "seed": self._compositions.seed,
                    "num_images": 1,
                    "prompt": finding,
                    "image": path,
                    "mask": LOWER_LEFT_LUNG,
                },
                [chain[-1]],
            )
            for number, path in enumerate(self._compositions.paths(HEALTHY))
        ]

    def _evaluation(self) -> Step:
        steps = [step for finding in PAINTED for step in self._painting(finding)]
        folder = self.chest.folder(steps[0]).parent
        return finding_evaluation(self.chest, self.name, {"inpainted_dir": folder}, steps)


@dataclass(frozen=True)
class PaintedProstate:
    """Figure 6: lesions painted into one healthy picture at two places in two sizes.

    Args:
        prostate: the bundle on its cases.
        num_pictures: paintings of each place and size, from different noise; the first is shown.
    """

    prostate: InversionSteps
    num_pictures: int
    name: str = "figure6"

    def steps(self) -> list[Step]:
        """Return all commands."""
        return [*self._healthy(), *self._painting().values(), *default_evaluation(self.prostate)]

    def write(self, folder: Path, done: Collection[str]) -> Iterator[str]:
        """Write ``figure6.png``, ``.csv`` and ``.md``."""
        chain, positive = self._healthy(), self.prostate.concepts[1]
        healthy = self.prostate.picture(chain[-1], self._healthy_file, done)
        grid = PictureGrid("Synthetic images, lesions painted within the outline")
        grid.add("healthy", [(name, channel(healthy, index)) for index, name in enumerate(SEQUENCES)])
        rows, evaluation = [], default_evaluation(self.prostate)[-1]
        for name, step in self._painting().items():
            painted, mask = _result(self.prostate, step, positive, self._seed, done)
            grid.add(name, [("", channel(outlined(painted, mask), index)) for index in range(len(SEQUENCES))])
            seen = None
            if {step.name, evaluation.name} <= {*done}:
                seen = two_class_view(self.prostate).painted(self.prostate.folder(step))
            for key, what in MEASURED.items():
                figure = None if seen is None else getattr(seen, key)
                rows.append(Measurement(f"{name}, {what}", figure, PAPER if key == "seen_inside" else ""))
        yield f"{grid.write(folder / f'{self.name}.png').name} in {folder}"
        yield from write_measurements(folder, self.name, rows)

    @property
    def _seed(self) -> int:
        return self.prostate.image_seed(self.prostate.seed)

    def _healthy(self) -> list[Step]:
        chain = self.prostate.training(self.prostate.seed)
        keys = {"seed": self._seed, "num_images": 1, "prompt": self.prostate.concepts[0]}
        return [*chain, self.prostate.images("healthy", "generating", chain[-1], keys)]

    @property
    def _healthy_file(self) -> str:
        negative = self.prostate.concepts[0]
        return f"images/{image_names([negative], 1, self._seed)[negative][0]}.png"

    def _painting(self) -> dict[str, Step]:
        """Return the commands by place and size."""
        chain = self._healthy()
        middle = self.prostate.bundle.content("train")["field_of_view_mm"] / 2
        found = {}
        for place, (x, y) in PLACES_MM.items():
            for size, radius in RADII_MM.items():
                keys = {"seed": self._seed, "num_images": self.num_pictures, "prompt": self.prostate.concepts[1]}
                keys |= {"image": self.prostate.folder(chain[-1]) / self._healthy_file}
                keys |= {"mask": f"ellipse({middle + x:g},{middle + y:g},{radius:g},{radius:g}) mm"}
                name = f"inpainted/{self.num_pictures}_images/{place}_{size}"
                step = self.prostate.images(name, "inpainting", chain[-2], keys, chain[-1:])
                found[f"{place}, {size}"] = step
        return found


def _result(
    inversion: InversionSteps, step: Step, prompt: str, seed: int, done: Collection[str]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the first picture of an inpainting run, and what was asked to be painted."""
    (name,) = image_names([prompt], 1, seed)[prompt]
    picture, mask = (inversion.picture(step, f"{folder}/{name}.png", done) for folder in ("images", "masks"))
    return picture, mask


def _title(finding: str) -> str:
    return finding.strip("<>").removeprefix("chest_xray_").replace("_", " ")
