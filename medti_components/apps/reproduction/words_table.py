# SPDX-License-Identifier: Apache-2.0
"""What a bundle's embeddings reach: all metrics of an evaluation, seed by seed, with mean and standard deviation."""

import csv
import io
import itertools
import json
import statistics
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medti_components.apps.reproduction.inpainting_figures import LOWER_LEFT_LUNG, PAINTED
from medti_components.apps.reproduction.inversion_steps import SEVERAL_FINDINGS, InversionSteps, image_names
from medti_components.apps.reproduction.quality_table import estimate_of
from medti_components.apps.reproduction.step_chain import Step, record_of
from medti_components.files import write_text_atomically

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

    @property
    def name(self) -> str:
        """Of its files."""
        return f"words_{self.inversion.modality}"

    @property
    def seeds(self) -> range:
        """Of the trainings."""
        return range(self.inversion.seed, self.inversion.seed + self.num_seeds)

    def steps(self) -> list[Step]:
        """Return all commands, whole seeds first."""
        return [step for seed in self.seeds for step in self._steps(seed)]

    def write(self, folder: Path, done: Collection[str]) -> Iterator[str]:
        """Write ``words_<modality>.csv`` and ``.md``."""
        rows = self._rows(folder, done)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["metric", *(f"seed {seed}" for seed in self.seeds)])
        writer.writerows([row.name, *(row.values.get(seed, "") for seed in self.seeds)] for row in rows)
        head = ["metric", *(f"seed {seed} [95 % interval]" for seed in self.seeds), "mean +- sd over seeds"]
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for row in rows:
            cells = [row.name, *(row.texts.get(seed, "not measured") for seed in self.seeds), row.spread]
            lines.append("| " + " | ".join(cells) + " |")
        table = "\n".join(lines) + "\n"
        write_text_atomically(folder / f"{self.name}.csv", text.getvalue())
        write_text_atomically(folder / f"{self.name}.md", table)
        yield f"\n{table}"
        yield f"{self.name}.csv, {self.name}.md in {folder}"

    def _steps(self, seed: int) -> list[Step]:
        """Return the commands of a seed, the evaluating one last."""
        chain = self.inversion.training(seed)
        generated = self._generated("generated", seed, chain[-1])
        keys = {"generated_dir": self.inversion.folder(generated)}
        if "embeddings" in self.inversion.bundle.content("evaluate"):
            keys["embeddings"] = self.inversion.folder(chain[-1]) / "embeddings"
        if self.inversion.modality == SEVERAL_FINDINGS:
            images = self._several(seed, chain[-1], generated)
        else:
            initial = self.inversion.training(seed, is_initial=True)[-1]
            baseline = self._generated("generated_initial", seed, initial)
            keys["baseline_dir"] = self.inversion.folder(baseline)
            images = {"": [initial, baseline]}
        keys |= {key: self.inversion.folder(steps[0]).parent for key, steps in images.items() if key}
        made = [generated, *itertools.chain.from_iterable(images.values())]
        return [*chain, *made, self.inversion.evaluating(f"words/seed_{seed}/evaluated", seed, keys, made)]

    def _generated(self, name: str, seed: int, words: Step) -> Step:
        count = self.inversion.bundle.content("evaluate")["num_test_cases"]
        keys = {"seed": self.inversion.image_seed(seed), "num_images": count}
        return self.inversion.images(
            f"words/seed_{seed}/{name}", "generating", words, keys, rows=len(self.inversion.concepts)
        )

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
        composed = inversion.images(f"{folder}/composed/all", "generating", words, keys, rows=len(prompts))
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
                rows=len(inversion.bundle.content("inference")["interpolation_weights"]),
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
                    "image": inversion.folder(generated) / "images" / f"{name}.png",
                    "mask": LOWER_LEFT_LUNG,
                },
                [generated],
            )
            for number, finding in enumerate(PAINTED)
            for name in pictures
        ]
        return {"composed_dir": [composed], "interpolated_dir": rows, "inpainted_dir": painted}

    def _rows(self, folder: Path, done: Collection[str]) -> list[SeedMetric]:
        """Return what was found, in the order of the first seed that has it."""
        found: dict[str, dict[int, tuple[float, str]]] = {}
        for seed in self.seeds:
            steps = self._steps(seed)
            if steps[-1].name not in done:
                continue
            training = self.inversion.training(seed)[-1]
            losses = json.loads((self.inversion.folder(training) / "held_out_loss.json").read_text(encoding="utf-8"))
            metrics = json.loads((self.inversion.folder(steps[-1]) / "metrics.json").read_text(encoding="utf-8"))
            numbers = {**_losses(losses), **_metrics(metrics)}
            minutes = record_of(training.name, folder).minutes()
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
