# SPDX-License-Identifier: Apache-2.0
"""Steps of experiments: runs of bundles on one set of cases, each with what it leaves and what it needs."""

import ast
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigParser

from medti_components.bundle.shipped import shipped_path
from medti_components.data.requests.generation_requests import GenerationRequests
from medti_components.errors import ConfigError
from medti_components.visualize.picture_grid import read_picture

RESULTS = {
    "phantoms": "",
    "training": "embeddings",
    "classifier_training": "classifier.safetensors",
    "generating": "",
    "interpolating": "",
    "inpainting": "",
    "evaluating": "metrics.json",
}
"""What a step of each rule leaves in its folder once it has ended well; "" is the folder itself."""
FIRST_IMAGE_SEED = 100_000
SEVERAL_KEYS = ("num_several_test_cases", "num_several_cases", "num_several_validation_cases")
SEVERAL_FINDINGS, THREE_FILES = "chest_xray", "histopathology"


@dataclass(frozen=True)
class Step:
    """One command of an experiment.

    Args:
        rule: of ``workflow/Snakefile``, a key of ``RESULTS``.
        folder: where it leaves its results; no two steps share one.
        command: a module and its arguments, as ``python -m`` takes them.
        needs: the steps that have to be done before.
        configs: config files that it reads.
    """

    rule: str
    folder: Path
    command: tuple[str, ...]
    needs: tuple["Step", ...] = ()
    configs: tuple[Path, ...] = ()

    @property
    def result(self) -> Path:
        """The file or folder that is there once the step has ended well."""
        return self.folder / RESULTS[self.rule]

    def minutes(self, output_dir: Path) -> float | None:
        """Return how long the step took, with what was done before it was broken off; None where nothing says so."""
        path = output_dir / "steps" / f"{self.folder.relative_to(output_dir)}.json"
        return float(json.loads(path.read_text(encoding="utf-8"))["seconds"]) / 60 if path.is_file() else None

    @property
    def is_done(self) -> bool:
        """Whether its result and those of all that it needs are there."""
        return self.result.exists() and all(step.is_done for step in self.needs)


def arguments_of(keys: Mapping[str, Any]) -> list[str]:
    """Return keys and values as a command line has them; those that are None are left out.

    >>> arguments_of({"seed": 3, "max_steps": None})
    ['--seed', '3']
    """
    return [text for key, value in keys.items() if value is not None for text in (f"--{key}", str(value))]


def phantom_step(modality: str, keys: Mapping[str, Any]) -> Step:
    """Return the step that draws phantoms into ``output_dir`` of ``keys``."""
    command = ("medti_components", "phantoms", modality, *arguments_of(keys))
    return Step("phantoms", Path(keys["output_dir"]), command)


@dataclass(frozen=True)
class BundleConfigs:
    """A bundle's configs with overlays.

    Args:
        first: one of its configs.
        overlays: laid over each config.
    """

    first: Path
    overlays: tuple[Path, ...] = ()

    @classmethod
    def of(cls, config_file: str) -> "BundleConfigs":
        """Read a bundle's config, or a list of it and overlays, written as for ``monai.bundle run``.

        Raises:
            ConfigError: a file is missing, or is no config.
        """
        paths = [shipped_path(path).resolve() for path in _listed(config_file)]
        for path in paths:
            if not path.is_file():
                raise ConfigError(f"config_file '{path}' is no file: correct --config_file")
            if path.suffix not in (".json", ".yaml", ".yml"):
                raise ConfigError(f"config_file '{path}' must end in .json or .yaml: correct --config_file")
        return cls(paths[0], tuple(paths[1:]))

    def files(self, name: str) -> tuple[Path, ...]:
        """Return the paths of the config ``<name>.json`` and of the overlays."""
        return (self.first.parent / f"{name}.json", *self.overlays)

    def content(self, name: str) -> dict[str, Any]:
        """Return a config with the overlays laid over it, unresolved."""
        return _content(self.files(name))

    def beside(self, concepts: Sequence[str]) -> "BundleConfigs":
        """Return the bundle beside this one, or this one, that teaches a diffusion model all of ``concepts``.

        Raises:
            ConfigError: there is none.
        """
        bundles = self.first.parents[2]
        for path in sorted(bundles.glob("*/configs/train.json")):
            config = _content((path,))
            if "num_vectors" in config and {*concepts} <= {*config.get("concepts", ())}:
                return BundleConfigs(path, self.overlays)
        raise ConfigError(
            f"no bundle in '{bundles}' learns the words {', '.join(concepts)}: put one beside that of "
            "--config_file, or correct concepts"
        )

    def step(self, run_id: str, config: str, keys: Mapping[str, Any], needs: Sequence[Step], rule: str = "") -> Step:
        """Return the step that runs a config and leaves its results in ``output_dir`` of ``keys``."""
        files = self.files(config)
        names = [str(path) for path in files]
        config_file = str(names) if len(names) > 1 else names[0]
        command = ("monai.bundle", "run", run_id, "--config_file", config_file, *arguments_of(keys))
        return Step(rule or run_id, Path(keys["output_dir"]), command, tuple(needs), files)


@cache
def _content(files: tuple[Path, ...]) -> dict[str, Any]:
    try:
        return dict(ConfigParser.load_config_files([str(path) for path in files]))
    except ValueError as error:
        names = ", ".join(f"'{path}'" for path in files)
        raise ConfigError(f"{names} can't be read ({' '.join(str(error).split())}): correct --config_file") from error


def _listed(config_file: str) -> list[str]:
    """Return the paths in a list written as Python, or the one path.

    >>> _listed("['a.json', 'b.json']"), _listed("a.json")
    (['a.json', 'b.json'], ['a.json'])
    """
    if not config_file.startswith(("[", "(")):
        return [config_file]
    try:
        paths = ast.literal_eval(config_file)
    except (ValueError, SyntaxError):
        paths = None
    if not paths or not all(isinstance(path, str) for path in paths):
        raise ConfigError(f"config_file must be a path or a list of paths, got {config_file}: write \"['a','b']\"")
    return list(paths)


@dataclass(frozen=True)
class InversionSteps:
    """Makes the steps of one textual inversion bundle on one set of cases.

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

    @property
    def cases(self) -> tuple[Step, ...]:
        """The step that draws the cases where they are phantoms."""
        if self.dataset_dir is not None:
            return ()
        keys = {"output_dir": self._cases_dir, **self._phantom_numbers(), "seed": self.seed}
        return (phantom_step(self.modality, keys),)

    @property
    def _cases_dir(self) -> Path:
        return self.dataset_dir or self.output_dir / self.modality / "cases"

    def _phantom_numbers(self) -> dict[str, Any]:
        """Return how many phantoms hold training, validation and test cases and the classifier's."""
        train, evaluate = self.bundle.content("train"), self.bundle.content("evaluate")
        training, validation = train["num_cases"], train["num_validation_cases"]
        test, classifier = evaluate["num_test_cases"], evaluate["num_classifier_cases"]
        classifier_validation = evaluate["num_classifier_validation_cases"]
        names = [short_name(concept, self.modality) for concept in train["concepts"]]
        if self.modality == THREE_FILES:  # as many in each of three files as the fullest needs
            num = max(training + classifier, validation + classifier_validation, test)
            return {f"num_{name}": num for name in names}
        # some patients have two studies, and a split takes all of a patient's or none: a few more than are counted
        num = spared(training + validation + test + classifier + classifier_validation)
        if self.modality != SEVERAL_FINDINGS:
            return {f"num_{name}": num for name in names}
        num_others = 3 * spared(sum(evaluate[key] for key in SEVERAL_KEYS))  # a third of them has several findings
        num = max(num, math.ceil(num_others / len(names)))
        share = math.ceil(1000 * num_others / (num * len(names))) / 1000
        return {**{f"num_{name}": num for name in names}, "share_of_others": share}

    def training(
        self, seed: int, num_vectors: int | None = None, num_cases: int | None = None, is_initial: bool = False
    ) -> Step:
        """Return the step that learns the words; None is the config's number.

        With ``is_initial`` it writes the rows that the words begin with.
        """
        train = self.bundle.content("train")
        numbers = {"num_vectors": num_vectors or train["num_vectors"], "num_cases": num_cases or train["num_cases"]}
        name = f"{self.modality}/{words_name(**numbers)}/{'initial_' if is_initial else ''}seed_{seed}"
        keys = {
            "dataset_dir": self._cases_dir,
            "cache_dir": self.output_dir / "cache",
            "output_dir": self.output_dir / name,
            **numbers,
            "seed": seed,
            "show_progress": "true",
            **({"max_steps": 0} if is_initial else {}),
        }
        return self.bundle.step("training", "train", keys, self.cases)

    def images(self, name: str, run_id: str, words: Step, keys: Mapping[str, Any], needs: Sequence[Step] = ()) -> Step:
        """Return a step that makes images of ``words``."""
        given = {
            "embeddings": words.result,
            "output_dir": self.output_dir / self.modality / name,
            "show_progress": "true",
            **keys,
        }
        return self.bundle.step(run_id, "inference", given, (words, *needs))

    def evaluating(self, name: str, seed: int, keys: Mapping[str, Any], needs: Sequence[Step]) -> Step:
        """Return the step that evaluates what ``keys`` name, on the cases that words of ``seed`` leave."""
        train = self.bundle.content("train")
        given = {
            "dataset_dir": self._cases_dir,
            "cache_dir": self.output_dir / "cache",
            "output_dir": self.output_dir / self.modality / name,
            "num_cases": train["num_cases"],
            "num_validation_cases": train["num_validation_cases"],
            "seed": seed,
            "show_progress": "true",
            **keys,
        }
        return self.bundle.step("evaluating", "evaluate", given, needs)

    def image_seed(self, seed: int) -> int:
        """Return the seed of the first image of words of ``seed``."""
        return FIRST_IMAGE_SEED * (seed + 1)


def picture_of(step: Step, file: str) -> np.ndarray | None:
    """Return a picture that a step made, uint8 (H, W, 3), None where the step is not done."""
    return read_picture(step.folder / file) if step.is_done else None


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


def short_name(concept: str, modality: str) -> str:
    """Return the finding in a concept's token.

    >>> short_name("<chest_xray_pleural_effusion>", "chest_xray")
    'pleural_effusion'
    """
    return concept.strip("<>").removeprefix(f"{modality}_")


def spared(number: int) -> int:
    """Return a few more than a number of cases, since some patients have two studies that no split may part."""
    return number + number // 20 + 2
