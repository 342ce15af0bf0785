# SPDX-License-Identifier: Apache-2.0
"""Figure 4: findings added one by one to a radiograph of one seed."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medti_components.apps.reproduction.interpolation_figure import finding_evaluation
from medti_components.apps.reproduction.inversion_steps import InversionSteps, image_names
from medti_components.apps.reproduction.measurements import Measurement, metrics_estimate, write_measurements
from medti_components.apps.reproduction.step_chain import Step
from medti_components.visualize.picture_grid import PictureGrid

HEALTHY = "<chest_xray_no_finding>"
FINDINGS = ("<chest_xray_pleural_effusion>", "<chest_xray_pneumonia>", "<chest_xray_cardiomegaly>")
WEIGHT = 0.5
GUIDANCE_SCALE = 3.0
PAPER = "combining works to an extent; three best at weight 0.5 each, guidance 3 (pictures alone)"


@dataclass(frozen=True)
class Compositions:
    """Images of single words, and of several findings at once, all from the same seeds of noise.

    Args:
        chest: the bundle on its cases.
        num_pictures: images of each prompt.
    """

    chest: InversionSteps
    num_pictures: int

    @property
    def seed(self) -> int:
        """Of the first image."""
        return self.chest.image_seed(self.chest.seed)

    @property
    def prompts(self) -> list[list[str]]:
        """Of single words; of several."""
        several = [FINDINGS[:count] for count in range(2, len(FINDINGS) + 1)]
        return [
            [HEALTHY, FINDINGS[0]],
            [" AND ".join(f"{finding} :{WEIGHT:g}" for finding in findings) for findings in several],
        ]

    def steps(self) -> list[Step]:
        """Return the commands, those of single words and of several last."""
        words = self.chest.training(self.chest.seed)
        shared: dict[str, Any] = {"seed": self.seed, "num_images": self.num_pictures}
        return [
            *words,
            *(
                self.chest.images(
                    name, "generating", words[-1], {**shared, "prompt": prompts, **more}, rows=len(prompts)
                )
                for name, prompts, more in zip(
                    (f"alone/{self.num_pictures}_images", f"composed/{self.num_pictures}_images"),
                    self.prompts,
                    ({}, {"guidance_scale": GUIDANCE_SCALE}),
                    strict=True,
                )
            ),
        ]

    def paths(self, prompt: str) -> list[Path]:
        """Return the images of a prompt, seed by seed."""
        return [
            self.chest.folder(step) / "images" / f"{name}.png"
            for prompts, step in zip(self.prompts, self.steps()[-2:], strict=True)
            for name in image_names(prompts, self.num_pictures, self.seed).get(prompt, [])
        ]


@dataclass(frozen=True)
class CompositionFigure:
    """Shows the compositions of one seed, and measures in how many all findings are seen.

    Args:
        chest: the bundle on its cases.
        num_pictures: images of each prompt.
    """

    chest: InversionSteps
    num_pictures: int
    name: str = "figure4"

    def steps(self) -> list[Step]:
        """Return all commands."""
        return [*self._compositions.steps(), self._evaluation()]

    def write(self, folder: Path, done: Collection[str]) -> Iterator[str]:
        """Write ``figure4.png``, ``.csv`` and ``.md``."""
        titles = ["healthy", *(f"+ {finding.strip('<>').removeprefix('chest_xray_')}" for finding in FINDINGS)]
        made = self._compositions
        pictures = [
            self.chest.picture(step, f"images/{names[0]}.png", done)
            for prompts, step in zip(made.prompts, made.steps()[-2:], strict=True)
            for names in image_names(prompts, 1, made.seed).values()
        ]
        grid = PictureGrid("Synthetic images of one seed, a finding added at a time")
        grid.add("", [(title.replace("_", " "), each) for title, each in zip(titles, pictures, strict=True)])
        yield f"{grid.write(folder / f'{self.name}.png').name} in {folder}"
        step = self._evaluation()
        path = self.chest.folder(step) / "metrics.json"
        rows = [
            Measurement(
                f"all seen, {what} of {count} findings",
                metrics_estimate(path, "detection", kind, f"{count} findings") if step.name in done else None,
                PAPER if kind == "composed" else "",
            )
            for count in (2, 3)
            for kind, what in (("composed", "composed images"), ("real", "held-out real images"))
        ]
        yield from write_measurements(folder, self.name, rows)

    @property
    def _compositions(self) -> Compositions:
        return Compositions(self.chest, self.num_pictures)

    def _evaluation(self) -> Step:
        composed = self._compositions.steps()[-1]
        return finding_evaluation(self.chest, self.name, {"composed_dir": self.chest.folder(composed)}, [composed])
