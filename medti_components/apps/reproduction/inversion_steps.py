# SPDX-License-Identifier: Apache-2.0
"""Commands of one textual inversion bundle on one set of cases: phantoms, words, images of them, evaluations."""

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medti_components.apps.reproduction.bundle_configs import BundleConfigs
from medti_components.apps.reproduction.step_chain import Step, arguments_of
from medti_components.data.requests.generation_requests import GenerationRequests
from medti_components.visualize.picture_grid import read_picture

FIRST_IMAGE_SEED = 100_000
SEVERAL_KEYS = ("num_several_test_cases", "num_several_cases", "num_several_validation_cases")
SEVERAL_FINDINGS, THREE_FILES = "chest_xray", "histopathology"


@dataclass(frozen=True)
class InversionSteps:
    """Makes the commands. What a step leaves lies in the folder of its name without the last part, its kind.

    Args:
        bundle: its configs.
        modality: what ``phantoms`` calls its kind of images.
        output_dir: folder of everything.
        dataset_dir: the real cases; None draws phantoms.
        seed: of phantoms, and the first one of words and images.
    """

    bundle: BundleConfigs
    modality: str
    output_dir: Path
    dataset_dir: Path | None
    seed: int

    @property
    def concepts(self) -> list[str]:
        """The words, that of no finding first."""
        return list(self.bundle.content("train")["concepts"])

    def folder(self, step: Step) -> Path:
        """Return where a step leaves its results."""
        return self.output_dir / step.name.rpartition("/")[0]

    def data(self) -> tuple[Path, list[Step]]:
        """Return the cases, and the command that draws them where they are phantoms."""
        if self.dataset_dir is not None:
            return self.dataset_dir, []
        folder, numbers = self.output_dir / self.modality / "cases", self._phantom_numbers()
        keys = {"output_dir": folder, **numbers, "seed": self.seed}
        command = phantom_command(self.modality, keys)
        work = sum(number for key, number in numbers.items() if key.startswith("num_"))
        return folder, [Step(f"{self.modality}/cases/phantoms", command, work=work)]

    def _phantom_numbers(self) -> dict[str, Any]:
        """Return how many phantoms hold training, validation and test cases and the classifier's."""
        train, evaluate = self.bundle.content("train"), self.bundle.content("evaluate")
        training, validation = train["num_cases"], train["num_validation_cases"]
        test, classifier = evaluate["num_test_cases"], evaluate["num_classifier_cases"]
        classifier_validation = evaluate["num_classifier_validation_cases"]
        names = [concept.strip("<>").removeprefix(f"{self.modality}_") for concept in train["concepts"]]
        if self.modality == THREE_FILES:  # as many in each of three files as the fullest needs
            num = max(training + classifier, validation + classifier_validation, test)
            return {f"num_{name}": num for name in names}
        # some patients have two studies, and a split takes all of a patient's or none: a few more than are counted
        num = _spared(training + validation + test + classifier + classifier_validation)
        if self.modality != SEVERAL_FINDINGS:
            return {f"num_{name}": num for name in names}
        num_others = 3 * _spared(sum(evaluate[key] for key in SEVERAL_KEYS))  # a third of them has several findings
        num = max(num, math.ceil(num_others / len(names)))
        share = math.ceil(1000 * num_others / (num * len(names))) / 1000
        return {**{f"num_{name}": num for name in names}, "share_of_others": share}

    def training(
        self, seed: int, num_vectors: int | None = None, num_cases: int | None = None, is_initial: bool = False
    ) -> list[Step]:
        """Return the command that learns the words, after those that it needs; None is the config's number.

        With ``is_initial`` it writes the rows that the words begin with.
        """
        train = self.bundle.content("train")
        numbers = {"num_vectors": num_vectors or train["num_vectors"], "num_cases": num_cases or train["num_cases"]}
        name = f"{self.modality}/{words_name(**numbers)}/{'initial_' if is_initial else ''}seed_{seed}"
        dataset_dir, chain = self.data()
        keys = {
            "dataset_dir": dataset_dir,
            "cache_dir": self.output_dir / "cache",
            "output_dir": self.output_dir / name,
            **numbers,
            "seed": seed,
            "show_progress": "true",
            **({"max_steps": 0} if is_initial else {}),
        }
        work = (
            0
            if is_initial
            else train["max_steps"] * train["batch_size"] * train["accumulation_steps"] * len(train["concepts"])
        )
        needs = [step.name for step in chain]
        return [*chain, self.bundle.step(f"{name}/training", "training", "train", keys, needs, work)]

    def images(
        self,
        name: str,
        run_id: str,
        words: Step,
        keys: Mapping[str, Any],
        needs: Sequence[Step] = (),
        rows: int = 1,
    ) -> Step:
        """Return a command that makes images of ``words``; ``rows`` are its images for each of ``num_images``."""
        inference = {**self.bundle.content("inference"), **keys}
        given = {
            "embeddings": self.folder(words) / "embeddings",
            "output_dir": self.output_dir / self.modality / name,
            "show_progress": "true",
            **keys,
        }
        passes = 1 if inference["guidance_scale"] == 1 else 2
        work = rows * inference["num_images"] * inference["num_inference_steps"] * passes
        names = [words.name, *(step.name for step in needs)]
        return self.bundle.step(f"{self.modality}/{name}/{run_id}", run_id, "inference", given, names, work)

    def evaluating(self, name: str, seed: int, keys: Mapping[str, Any], needs: Sequence[Step]) -> Step:
        """Return the command that evaluates what ``keys`` name, on the cases that words of ``seed`` leave."""
        train = self.bundle.content("train")
        given = {
            "dataset_dir": self.data()[0],
            "cache_dir": self.output_dir / "cache",
            "output_dir": self.output_dir / self.modality / name,
            "num_cases": train["num_cases"],
            "num_validation_cases": train["num_validation_cases"],
            "seed": seed,
            "show_progress": "true",
            **keys,
        }
        names = [step.name for step in needs]
        return self.bundle.step(f"{self.modality}/{name}/evaluating", "evaluating", "evaluate", given, names)

    def picture(self, step: Step, file: str, done: Collection[str]) -> np.ndarray | None:
        """Return a picture that a step made, uint8 (H, W, 3), None where the step is not among the ``done`` ones."""
        return read_picture(self.folder(step) / file) if step.name in done else None

    def image_seed(self, seed: int) -> int:
        """Return the seed of the first image of words of ``seed``."""
        return FIRST_IMAGE_SEED * (seed + 1)


def phantom_command(modality: str, keys: Mapping[str, Any]) -> list[str]:
    """Return the command that draws phantoms."""
    return [sys.executable, "-m", "medti_components", "phantoms", modality, *arguments_of(keys)]


def image_names(prompts: Sequence[str], num_images: int, seed: int) -> dict[str, list[str]]:
    """Return the file stems of a generating run's images, by prompt.

    >>> image_names(["<a>", "<b>"], 2, 7)
    {'<a>': ['a_7', 'a_8'], '<b>': ['b_7', 'b_8']}
    """
    requests = GenerationRequests([], num_images, seed, prompt=list(prompts))
    names: dict[str, list[str]] = {}
    for index in range(len(requests)):
        names.setdefault(requests[index]["prompt"].text, []).append(requests[index]["name"])
    return names


def words_name(num_vectors: int, num_cases: int) -> str:
    """Name words after how they were learned.

    >>> words_name(64, 100)
    'vectors_64_cases_100'
    """
    return f"vectors_{num_vectors}_cases_{num_cases}"


def _spared(number: int) -> int:
    return number + number // 20 + 2
