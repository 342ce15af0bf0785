# SPDX-License-Identifier: Apache-2.0
"""Figures 3 to 6: findings that grow with their weight, are added one by one, or are painted into healthy pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medti_components.apps.reproduction.bundle_runs import InversionSteps, Step, image_names, picture_of, short_name
from medti_components.apps.reproduction.grid_tables import GridCells
from medti_components.apps.reproduction.measurements import Measurement, TwoClassView, metric_of, write_measurements
from medti_components.data.requests.generation_requests import InterpolationRequests
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.visualize.picture_grid import PictureGrid, channel, outlined

ENDINGS = ("png", "csv", "md")
SEQUENCES = ("T2W", "ADC", "high-b DWI")
HEALTHY = "<chest_xray_no_finding>"
FINDINGS = ("<chest_xray_pleural_effusion>", "<chest_xray_pneumonia>", "<chest_xray_cardiomegaly>")
WEIGHT = 0.5
GUIDANCE_SCALE = 3.0
LOWER_LEFT_LUNG = "ellipse(70,68,16,18) %"
PAINTED = FINDINGS[:2]
PLACES_MM = {"right": (-18.0, 6.0), "left": (18.0, 6.0)}  # (x, y) from the middle of the image
RADII_MM = {"small": 6.0, "large": 12.0}
MEASURED = {"seen_inside": "seen after, not before", "unchanged_outside": "unchanged outside"}
PAPER = {
    "figure3": "seems to work well across the modalities (pictures alone)",
    "figure4": "combining works to an extent; three best at weight 0.5 each, guidance 3 (pictures alone)",
    "painted": "the finding appears where it is painted (pictures alone)",
}


def default_evaluation(inversion: InversionSteps) -> Step:
    """Return the evaluation of the config's own setting, whose classifier judges other images."""
    cells = GridCells(inversion)
    return cells.evaluating(cells.default, inversion.seed)


def two_class_view(inversion: InversionSteps) -> TwoClassView:
    """Return the classifier of :func:`default_evaluation`."""
    classifier = default_evaluation(inversion).folder / "classifier.safetensors"
    return TwoClassView(classifier, inversion.concepts, inversion.bundle.content("evaluate")["image_size"])


def finding_evaluation(inversion: InversionSteps, name: str, folders: dict[str, Path], needs: list[Step]) -> Step:
    """Return the step that judges folders of images by a classifier of several findings."""
    keys: dict[str, object] = {**folders}
    if "parts" in inversion.bundle.content("evaluate"):
        keys["parts"] = []
    return inversion.evaluating(f"evaluated/{name}", inversion.seed, keys, needs)


@dataclass(frozen=True)
class Interpolation:
    """Images from a bundle's word of no finding to another one, a row per seed of noise."""

    inversion: InversionSteps
    concept: str
    num_rows: int

    @property
    def finding(self) -> str:
        """The word in words."""
        return short_name(self.concept, self.inversion.modality)

    @property
    def concepts(self) -> list[str]:
        """From where to where."""
        return [self.inversion.concepts[0], self.concept]

    @property
    def step(self) -> Step:
        """What makes the images."""
        keys = {"seed": self._seed, "num_images": self.num_rows, "concepts": self.concepts}
        words = self.inversion.training(self.inversion.seed)
        return self.inversion.images(f"interpolated/{self.num_rows}_rows/{self.finding}", "interpolating", words, keys)

    def first_row(self) -> list[tuple[str, np.ndarray | None]]:
        """Return the pictures of the first seed with their titles; None for those that are not there."""
        weights = list(self.inversion.bundle.content("inference")["interpolation_weights"])
        requests = InterpolationRequests(self.concepts, 1, self._seed, weights)
        items = [requests[index] for index in range(len(requests))]
        return [
            (f"{100 * item['interpolation_weight']:g} %", picture_of(self.step, f"images/{item['name']}.png"))
            for item in items
        ]

    @property
    def _seed(self) -> int:
        return self.inversion.image_seed(self.inversion.seed)


@dataclass(frozen=True)
class InterpolationFigure:
    """Figure 3: makes the rows, shows the first of each, and measures whether the finding grows along all.

    Args:
        prostate, chest, histopathology: the bundles on their cases.
        num_pictures: rows of each pair of words.
    """

    prostate: InversionSteps
    chest: InversionSteps
    histopathology: InversionSteps
    num_pictures: int
    name: str = "figure3"
    endings: Sequence[str] = ENDINGS

    def steps(self) -> list[Step]:
        """Return the last steps."""
        evaluations = [default_evaluation(each) for each in (self.prostate, self.histopathology)]
        return [*(each.step for each in self._interpolations()), *evaluations, self._chest_evaluation()]

    def write(self, folder: Path) -> None:
        """Write ``figure3.png``, ``.csv`` and ``.md``."""
        grid = PictureGrid("Synthetic images, healthy to diseased, each row of one seed")
        for each in self._interpolations():
            pictures = each.first_row()
            if each.inversion is self.prostate:
                for index, sequence in enumerate(SEQUENCES):
                    grid.add(sequence, [(title, channel(picture, index)) for title, picture in pictures])
            else:
                grid.add(each.finding.replace("_", " "), pictures)
        grid.write(folder / f"{self.name}.png")
        rows = [
            Measurement(f"Spearman of weight and log-odds, {each.finding}", self._trend(each), PAPER[self.name])
            for each in self._interpolations()
        ]
        write_measurements(folder, self.name, rows)

    def _interpolations(self) -> list[Interpolation]:
        return [
            Interpolation(inversion, concept, self.num_pictures)
            for inversion in (self.prostate, self.chest, self.histopathology)
            for concept in inversion.concepts[1:]
        ]

    def _chest_evaluation(self) -> Step:
        steps = [each.step for each in self._interpolations() if each.inversion is self.chest]
        return finding_evaluation(self.chest, self.name, {"interpolated_dir": steps[0].folder.parent}, steps)

    def _trend(self, each: Interpolation) -> IntervalEstimate | None:
        if each.inversion is self.chest:
            return metric_of(self._chest_evaluation(), "interpolation", " to ".join(each.concepts))
        if not (each.step.is_done and default_evaluation(each.inversion).is_done):
            return None
        return two_class_view(each.inversion).trend(each.step.folder)


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
    def words(self) -> Step:
        """What learns the words."""
        return self.chest.training(self.chest.seed)

    @property
    def prompts(self) -> dict[str, list[str]]:
        """Of single words; of several."""
        several = [FINDINGS[:count] for count in range(2, len(FINDINGS) + 1)]
        return {
            "alone": [HEALTHY, FINDINGS[0]],
            "composed": [" AND ".join(f"{finding} :{WEIGHT:g}" for finding in findings) for findings in several],
        }

    def step(self, name: str) -> Step:
        """Return the step that makes the images of ``prompts[name]``."""
        keys: dict[str, Any] = {"seed": self.seed, "num_images": self.num_pictures, "prompt": self.prompts[name]}
        if name == "composed":
            keys["guidance_scale"] = GUIDANCE_SCALE
        return self.chest.images(f"{name}/{self.num_pictures}_images", "generating", self.words, keys)

    def healthy_paths(self) -> list[Path]:
        """Return the images of no finding, seed by seed."""
        names = image_names(self.prompts["alone"], self.num_pictures, self.seed)[HEALTHY]
        return [self.step("alone").folder / "images" / f"{name}.png" for name in names]


@dataclass(frozen=True)
class CompositionFigure:
    """Figure 4: shows the compositions of one seed, and measures in how many all findings are seen.

    Args:
        chest: the bundle on its cases.
        num_pictures: images of each prompt.
    """

    chest: InversionSteps
    num_pictures: int
    name: str = "figure4"
    endings: Sequence[str] = ENDINGS

    def steps(self) -> list[Step]:
        """Return the last steps."""
        return [self._compositions.step("alone"), self._evaluation()]

    def write(self, folder: Path) -> None:
        """Write ``figure4.png``, ``.csv`` and ``.md``."""
        titles = ["healthy", *(f"+ {_title(finding)}" for finding in FINDINGS)]
        made = self._compositions
        pictures = [
            picture_of(made.step(name), f"images/{names[0]}.png")
            for name, prompts in made.prompts.items()
            for names in image_names(prompts, 1, made.seed).values()
        ]
        grid = PictureGrid("Synthetic images of one seed, a finding added at a time")
        grid.add("", [*zip(titles, pictures, strict=True)])
        grid.write(folder / f"{self.name}.png")
        rows = [
            Measurement(
                f"all seen, {what} of {count} findings",
                metric_of(self._evaluation(), "detection", kind, f"{count} findings"),
                PAPER[self.name] if kind == "composed" else "",
            )
            for count in (2, 3)
            for kind, what in (("composed", "composed images"), ("real", "held-out real images"))
        ]
        write_measurements(folder, self.name, rows)

    @property
    def _compositions(self) -> Compositions:
        return Compositions(self.chest, self.num_pictures)

    def _evaluation(self) -> Step:
        composed = self._compositions.step("composed")
        return finding_evaluation(self.chest, self.name, {"composed_dir": composed.folder}, [composed])


@dataclass(frozen=True)
class PaintedRadiographs:
    """Figure 5: effusion and pneumonia painted into the lower left lung of healthy pictures.

    Args:
        chest: the bundle on its cases.
        num_pictures: healthy pictures, each painted into once per finding; the first is shown.
    """

    chest: InversionSteps
    num_pictures: int
    name: str = "figure5"
    endings: Sequence[str] = ENDINGS

    def steps(self) -> list[Step]:
        """Return the last step."""
        return [self._evaluation()]

    def write(self, folder: Path) -> None:
        """Write ``figure5.png``, ``.csv`` and ``.md``."""
        made = self._compositions
        healthy = picture_of(made.step("alone"), f"images/{made.healthy_paths()[0].name}")
        painted = {finding: _result(self._painting(finding)[0], finding, made.seed) for finding in PAINTED}
        pictures = [("healthy", healthy), ("mask", outlined(healthy, painted[PAINTED[0]][1]))]
        pictures += [(_title(finding), picture) for finding, (picture, _) in painted.items()]
        grid = PictureGrid("Synthetic images, painted within the outline")
        grid.add("", pictures)
        grid.write(folder / f"{self.name}.png")
        evaluation = self._evaluation()
        rows = [
            Measurement(
                f"{_title(finding)}, {what}",
                metric_of(evaluation, "inpainting", short_name(finding, self.chest.modality), key),
                PAPER["painted"] if key == "seen_inside" else "",
            )
            for finding in PAINTED
            for key, what in MEASURED.items()
        ]
        write_measurements(folder, self.name, rows)

    @property
    def _compositions(self) -> Compositions:
        return Compositions(self.chest, self.num_pictures)

    def _painting(self, finding: str) -> list[Step]:
        made = self._compositions
        keys: dict[str, Any] = {"seed": made.seed, "num_images": 1, "prompt": finding}
        folder = f"inpainted/{self.num_pictures}_pictures/{short_name(finding, self.chest.modality)}"
        return [
            self.chest.images(
                f"{folder}_{number}",
                "inpainting",
                made.words,
                {**keys, "image": path, "mask": LOWER_LEFT_LUNG},
                [made.step("alone")],
            )
            for number, path in enumerate(made.healthy_paths())
        ]

    def _evaluation(self) -> Step:
        steps = [step for finding in PAINTED for step in self._painting(finding)]
        return finding_evaluation(self.chest, self.name, {"inpainted_dir": steps[0].folder.parent}, steps)


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
    endings: Sequence[str] = ENDINGS

    def steps(self) -> list[Step]:
        """Return the last steps."""
        return [*self._painting().values(), default_evaluation(self.prostate)]

    def write(self, folder: Path) -> None:
        """Write ``figure6.png``, ``.csv`` and ``.md``."""
        healthy = picture_of(self._healthy(), self._healthy_file)
        grid = PictureGrid("Synthetic images, lesions painted within the outline")
        grid.add("healthy", [(name, channel(healthy, index)) for index, name in enumerate(SEQUENCES)])
        rows = []
        for name, step in self._painting().items():
            painted, mask = _result(step, self.prostate.concepts[1], self._seed)
            grid.add(name, [("", channel(outlined(painted, mask), index)) for index in range(len(SEQUENCES))])
            seen = None
            if step.is_done and default_evaluation(self.prostate).is_done:
                seen = two_class_view(self.prostate).painted(step.folder)
            for key, what in MEASURED.items():
                metric = None if seen is None else getattr(seen, key)
                rows.append(Measurement(f"{name}, {what}", metric, PAPER["painted"] if key == "seen_inside" else ""))
        grid.write(folder / f"{self.name}.png")
        write_measurements(folder, self.name, rows)

    @property
    def _seed(self) -> int:
        return self.prostate.image_seed(self.prostate.seed)

    @property
    def _words(self) -> Step:
        return self.prostate.training(self.prostate.seed)

    def _healthy(self) -> Step:
        keys = {"seed": self._seed, "num_images": 1, "prompt": self.prostate.concepts[0]}
        return self.prostate.images("healthy", "generating", self._words, keys)

    @property
    def _healthy_file(self) -> str:
        negative = self.prostate.concepts[0]
        return f"images/{image_names([negative], 1, self._seed)[negative][0]}.png"

    def _painting(self) -> dict[str, Step]:
        """Return the steps by place and size."""
        healthy = self._healthy()
        middle = self.prostate.bundle.content("train")["field_of_view_mm"] / 2
        found = {}
        for place, (x, y) in PLACES_MM.items():
            for size, radius in RADII_MM.items():
                keys = {"seed": self._seed, "num_images": self.num_pictures, "prompt": self.prostate.concepts[1]}
                keys |= {"image": healthy.folder / self._healthy_file}
                keys |= {"mask": f"ellipse({middle + x:g},{middle + y:g},{radius:g},{radius:g}) mm"}
                name = f"inpainted/{self.num_pictures}_images/{place}_{size}"
                found[f"{place}, {size}"] = self.prostate.images(name, "inpainting", self._words, keys, [healthy])
        return found


def _result(step: Step, prompt: str, seed: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the first picture of an inpainting run, and what was asked to be painted."""
    (name,) = image_names([prompt], 1, seed)[prompt]
    picture, mask = (picture_of(step, f"{folder}/{name}.png") for folder in ("images", "masks"))
    return picture, mask


def _title(finding: str) -> str:
    return short_name(finding, "chest_xray").replace("_", " ")
