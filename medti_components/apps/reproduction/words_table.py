# SPDX-License-Identifier: Apache-2.0
"""What a bundle's embeddings reach: all metrics of an evaluation, seed by seed, with mean and standard deviation."""

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medti_components.apps.reproduction.bundle_runs import SEVERAL_FINDINGS, InversionSteps, Step, image_names
from medti_components.apps.reproduction.finding_figures import LOWER_LEFT_LUNG, PAINTED
from medti_components.apps.reproduction.measurements import estimate_of
from medti_components.files import write_csv_atomically, write_text_atomically
from medti_components.visualize.tables import markdown_table

COMPOSITION = {"weight": 1.0, "healthy_weight": -1.0, "guidance_scale": 1.5}
"""Of several findings: the healthy embedding leads away, so that findings grow and not all that makes a chest."""


@dataclass(frozen=True)
class SeedMetric:
    """A number of several runs: by seed, with its interval where it has one."""

    name: str
    values: Mapping[int, float]
    texts: Mapping[int, str]

    @property
    def spread(self) -> str:
        """Mean and, of several runs, standard deviation over them.

        >>> SeedMetric("auc", {0: 0.5, 1: 0.75}, {}).spread
        '0.625 +- 0.177'
        """
        mean = f"{statistics.fmean(self.values.values()):.3f}"
        return f"{mean} +- {statistics.stdev(self.values.values()):.3f}" if len(self.values) > 1 else mean


@dataclass(frozen=True)
class WordsTable:
    """For each seed: train, generate from the learned and, of two classes, from the initial rows, evaluate.

    A bundle of several findings also composes all pairs and the triple, goes from no finding to each, and paints two
    findings into healthy pictures of its own.

    Args:
        inversion: the bundle on its cases.
        num_seeds: trainings, from the first seed on.
        num_pictures: rows of each interpolation, and pictures to paint into.
    """

    inversion: InversionSteps
    num_seeds: int
    num_pictures: int
    endings: Sequence[str] = ("csv", "md")

    @property
    def name(self) -> str:
        """Of its files."""
        return f"words_{self.inversion.modality}"

    @property
    def seeds(self) -> range:
        """Of the trainings."""
        return range(self.inversion.seed, self.inversion.seed + self.num_seeds)

    def steps(self) -> list[Step]:
        """Return the evaluation of each seed."""
        return [self._evaluating(seed) for seed in self.seeds]

    def write(self, folder: Path) -> None:
        """Write ``words_<modality>.csv`` and ``.md``."""
        rows = self._rows(folder)
        header = ["metric", *(f"seed {seed}" for seed in self.seeds)]
        lines = [[row.name, *(row.values.get(seed, "") for seed in self.seeds)] for row in rows]
        write_csv_atomically(folder / f"{self.name}.csv", header, lines)
        heads = ["metric", *(f"seed {seed} [95 % interval]" for seed in self.seeds), "mean +- sd over seeds"]
        cells = [[row.name, *(row.texts.get(seed, "not measured") for seed in self.seeds), row.spread] for row in rows]
        write_text_atomically(folder / f"{self.name}.md", markdown_table(heads, cells))

    def _evaluating(self, seed: int) -> Step:
        """Return the evaluation of a seed."""
        words = self.inversion.training(seed)
        generated = self._generated("generated", seed, words)
        keys = {"generated_dir": generated.folder}
        if "embeddings" in self.inversion.bundle.content("evaluate"):
            keys["embeddings"] = words.result
        if self.inversion.modality == SEVERAL_FINDINGS:
            several = self._several(seed, words, generated)
            keys |= {key: steps[0].folder.parent for key, steps in several.items()}
            made = [generated, *itertools.chain.from_iterable(several.values())]
        else:
            baseline = self._generated("generated_initial", seed, self.inversion.training(seed, is_initial=True))
            keys["baseline_dir"] = baseline.folder
            made = [generated, baseline]
        return self.inversion.evaluating(f"words/seed_{seed}/evaluated", seed, keys, made)

    def _generated(self, name: str, seed: int, words: Step) -> Step:
        count = self.inversion.bundle.content("evaluate")["num_test_cases"]
        keys = {"seed": self.inversion.image_seed(seed), "num_images": count}
        return self.inversion.images(f"words/seed_{seed}/{name}", "generating", words, keys)

    def _several(self, seed: int, words: Step, generated: Step) -> dict[str, list[Step]]:
        """Return the commands that compose, interpolate and paint, by the key of the evaluation that reads them."""
        inversion, first = self.inversion, self.inversion.image_seed(seed)
        healthy, *findings = inversion.concepts
        folder = f"words/seed_{seed}"
        several = [each for count in (2, 3) for each in itertools.combinations(findings, count)]
        prompts = [
            " AND ".join(f"{finding} :{COMPOSITION['weight']:g}" for finding in each)
            + f" AND {healthy} :{COMPOSITION['healthy_weight']:g}"
            for each in several
        ]
        keys: dict[str, Any] = {"seed": first + 10_000, "prompt": prompts, "num_images": self.num_pictures}
        keys |= {"guidance_scale": COMPOSITION["guidance_scale"]}
        composed = inversion.images(f"{folder}/composed/all", "generating", words, keys)
        rows = [
            inversion.images(
                f"{folder}/interpolated/{number}",
                "interpolating",
                words,
                {
                    "seed": first + 20_000 + 1000 * number,
                    "num_images": self.num_pictures,
                    "concepts": [healthy, finding],
                },
            )
            for number, finding in enumerate(findings)
        ]
        pictures = image_names([healthy], self.num_pictures, first)[healthy]
        painted = [
            inversion.images(
                f"{folder}/inpainted/{number}_{name}",
                "inpainting",
                words,
                {
                    "seed": first + 30_000 + 1000 * number,
                    "num_images": 1,
                    "prompt": finding,
                    "negative_prompt": healthy,
                    "image": generated.folder / "images" / f"{name}.png",
                    "mask": LOWER_LEFT_LUNG,
                },
                [generated],
            )
            for number, finding in enumerate(PAINTED)
            for name in pictures
        ]
        return {"composed_dir": [composed], "interpolated_dir": rows, "inpainted_dir": painted}

    def _rows(self, folder: Path) -> list[SeedMetric]:
        """Return what was found, in the order of the first seed that has it."""
        found: dict[str, dict[int, tuple[float, str]]] = {}
        for seed in self.seeds:
            evaluating, training = self._evaluating(seed), self.inversion.training(seed)
            if not evaluating.is_done:
                continue
            losses = json.loads((training.folder / "held_out_loss.json").read_text(encoding="utf-8"))
            metrics = json.loads(evaluating.result.read_text(encoding="utf-8"))
            numbers = {**_losses(losses), **_metrics(metrics)}
            minutes = training.minutes(folder)
            if minutes is not None:
                numbers["minutes of training"] = (minutes, f"{minutes:.1f}")
            for name, number in numbers.items():
                found.setdefault(name, {})[seed] = number
        return [
            SeedMetric(
                name,
                {seed: value for seed, (value, _) in each.items()},
                {seed: text for seed, (_, text) in each.items()},
            )
            for name, each in found.items()
        ]


def _losses(losses: Mapping[str, Any]) -> dict[str, tuple[float, str]]:
    """Return the last held-out loss of each concept and what it has to beat.

    >>> _losses({"references": {"empty prompt": {"<a>": 0.3}}, "held_out_loss": {"<a>": [[0, 0.4], [9, 0.2]]}})
    {'held-out loss, <a>': (0.2, '0.200'), 'held-out loss, <a>, empty prompt': (0.3, '0.300')}
    """
    found = {}
    for concept, values in losses["held_out_loss"].items():
        found[f"held-out loss, {concept}"] = max(values)[1]
        for name, references in losses["references"].items():
            if concept in references:
                found[f"held-out loss, {concept}, {name}"] = references[concept]
    return {name: (value, f"{value:.3f}") for name, value in found.items()}


def _metrics(document: Any, path: tuple[str, ...] = ()) -> dict[str, tuple[float, str]]:
    """Return all metrics of ``metrics.json`` that have an interval.

    >>> metric = {"value": 0.5, "interval": [0.4, 0.6], "confidence": 0.95, "method": "exact", "n": {"images": 9}}
    >>> _metrics({"auc": {"real": metric}, "seed": 3})
    {'auc, real': (0.5, '0.500 [0.400, 0.600]')}
    """
    if not isinstance(document, Mapping):
        return {}
    if {"value", "interval"} <= document.keys():
        estimate = estimate_of(document)
        return {} if estimate is None else {", ".join(path): (estimate.value, str(estimate))}
    found: dict[str, tuple[float, str]] = {}
    for key, value in document.items():
        found |= _metrics(value, (*path, key))
    return found
