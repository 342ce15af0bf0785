# SPDX-License-Identifier: Apache-2.0
"""Whether a bundle works: its components are built, one step is trained, one image is generated, in seconds."""

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from monai.bundle import ConfigParser, create_workflow
from monai.bundle.properties import InferProperties, TrainProperties
from monai.utils import BundleProperty, BundlePropertyConfig

import medti_components
from medti_components.apps.bundle_checks.bundle import EMBEDDED, Bundle
from medti_components.apps.bundle_checks.check_result import CheckSkipped
from medti_components.apps.bundle_checks.contents import RUN_IDS
from medti_components.apps.phantoms import Phantoms
from medti_components.bundle.error_line import find_typed_error
from medti_components.bundle.values import is_expression

NUM_PHANTOMS = 5  # of each kind: enough for the splits below
SECONDS = 600
SMALL_VALUES: Mapping[str, Any] = {
    "num_cases": 1,
    "num_validation_cases": 1,
    "num_test_cases": 1,
    "num_classifier_cases": 1,
    "num_classifier_validation_cases": 1,
    "num_several_cases": 0,
    "num_several_validation_cases": 0,
    "num_several_test_cases": 0,
    "num_real": 2,
    "num_synthetic": 0,
    "num_training_cases": 1,
    "num_vectors": 2,
    "max_steps": 1,
    "num_batches": 1,
    "num_workers": 0,
    "classifier_epochs": 1,
    "classifier_batch_size": 2,
    "batch_size": 1,
    "preview_interval": 0,
    "num_images": 1,
    "num_inference_steps": 1,
    "num_scenes": 12,
    "caption_lengths": [[40, 1]],
    "text_encoder_steps": 1,
    "decoder_steps": 1,
    "denoiser_steps": 1,
    "joint_steps": 1,
    "decoder_batch_size": 2,
    "text_encoder_batch_size": 2,
    "denoiser_batch_size": 2,
    "show_progress": False,
    "device": "cpu",
}

OWN_BASE_MODEL = "$@bundle_root + '/models"  # as a packaged bundle may have it
TRAINED = {"embeddings": "embeddings", "classifier": "classifier.safetensors"}  # keys that read a training's results


class TrialRun:
    """Runs a bundle's configs at their smallest: one step, one image, phantoms for data.

    A config gets those of the small values whose keys it has, what a training before it left, and ``embedded.json``
    laid over it where they have a key in common. Phantoms are those of the ``phantoms`` command whose name begins all
    the bundle's concepts.

    Args:
        bundle: the bundle.
        folder: for results; they stay apart from those of others by its name.
        data_dir: for phantoms and what is prepared from them, which others may share.
    """

    def __init__(self, bundle: Bundle, folder: Path, data_dir: Path) -> None:
        self.bundle = bundle
        self.folder = folder
        self.data_dir = data_dir

    def config_files(self, name: str) -> list[str]:
        """Return the paths of a config and of its overlay.

        Raises:
            CheckSkipped: it needs a base model, and there is no embedded one.
        """
        config = self.bundle.configs[name]
        files = [str(self.bundle.folder.resolve() / "configs" / name)]
        if config.keys() & self.bundle.overlays.get(EMBEDDED, {}).keys() - {"_desc_"}:
            files.append(str(self.bundle.overlay_paths[EMBEDDED]))
        elif "base_model" in config and not str(config["base_model"]).startswith(OWN_BASE_MODEL):
            raise CheckSkipped(f"no ../../configs/{EMBEDDED}: without the embedded base model nothing can be run")
        return files

    def settings(self, name: str) -> dict[str, Any]:
        """Return the keys to override in a config.

        Raises:
            CheckSkipped: it needs data, and there are no phantoms of that kind.
        """
        config = self.bundle.configs[name]
        values = {key: value for key, value in SMALL_VALUES.items() if key in config}
        paths = {"output_dir": self.output_dir(name), "cache_dir": self.data_dir / "cache"}
        if "train.json" in self.bundle.configs:
            paths |= {key: self.output_dir("train.json") / result for key, result in TRAINED.items()}
        if "dataset_dir" in config and not is_expression(config["dataset_dir"]):
            paths["dataset_dir"] = self.dataset_dir
        return values | {key: str(path) for key, path in paths.items() if key in config}

    def output_dir(self, name: str) -> Path:
        """Return the folder for a config's results."""
        return self.folder / Path(name).stem

    @cached_property
    def dataset_dir(self) -> Path:
        """Folder of the phantoms, drawn when first asked for."""
        tokens = [token.strip("<>") for token in self.bundle.concepts]
        names = [name for name, _ in inspect.getmembers(Phantoms, inspect.isfunction) if not name.startswith("_")]
        fitting = [name for name in names if tokens and all(token.startswith(f"{name}_") for token in tokens)]
        if not fitting:
            raise CheckSkipped(f"no phantoms stand in for its data: the command phantoms has {', '.join(names)}")
        draw = getattr(Phantoms(), max(fitting, key=len))
        numbers = {key: NUM_PHANTOMS for key in inspect.signature(draw).parameters if key.startswith("num_")}
        folder = self.data_dir / draw.__name__
        if not folder.is_dir():
            draw(str(folder), **numbers)
        return folder

    def run(self, name: str, run_id: str) -> Iterator[str]:
        """Run a config as users do, in a process of its own; yield a line where that fails."""
        settings = self.settings(name)
        options = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
        command = ["-m", "monai.bundle", "run", run_id, "--config_file", str(self.config_files(name)), *options]
        own = str(self.bundle.folder.resolve())  # a packaged bundle has its components in it, and is run from there
        source = str(Path(medti_components.__file__).parents[1])
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, [source, own, os.environ.get("PYTHONPATH")])),
            "HF_HUB_OFFLINE": "1",
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            result = subprocess.run(
                [sys.executable, *command],
                cwd=self.folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            yield f"'{run_id}' of configs/{name} took over {SECONDS} s: make the smallest settings quick"
            return
        if result.returncode != 0:
            status = f"'{run_id}' of configs/{name} ended with status {result.returncode}"
            yield f"{status}: {_last_words(result.stderr)}: correct what it names"


def _last_words(stderr: str) -> str:
    """Return the error that a process ended with.

    >>> _last_words("a warning\\nTraceback ...\\n  a frame\\nValueError: x must be 1,\\n  got 2\\n")
    'ValueError: x must be 1, got 2'
    """
    errors = re.split(r"^(?=error: |[\w.]+(?:Error|Exception): )", stderr, flags=re.MULTILINE)
    return " ".join(errors[-1].split())[-1000:] or "nothing on stderr"


WORKFLOWS = {
    "train.json": ("training", TrainProperties),
    "inference.json": ("inference", InferProperties),
    "evaluate.json": ("evaluation", InferProperties),
}


def properties(trial: TrialRun) -> Iterator[str]:
    """Each config has the properties that MONAI's tools ask a workflow for, and its components can be built.

    A train.json without a section ``train`` is no training workflow of MONAI's and is left out.
    """
    configs = trial.bundle.configs
    names = [name for name in WORKFLOWS if name in configs and (name != "train.json" or "train" in configs[name])]
    if not names:
        raise CheckSkipped("no config offers a workflow of MONAI's: train.json has no section 'train'")
    missing = [problem for name in names for problem in _missing(trial, name)]
    yield from missing
    for name in names if not missing else ():
        problems = [*_built(trial, name)]
        yield from problems
        if problems:
            return


def _missing(trial: TrialRun, name: str) -> Iterator[str]:
    kind, wanted = WORKFLOWS[name]
    parser = ConfigParser(trial.bundle.configs[name])
    for fact in wanted.values():
        key = str(fact[BundlePropertyConfig.ID])
        if fact[BundleProperty.REQUIRED] and key not in parser:
            meaning = str(fact[BundleProperty.DESC]).rstrip(".")
            yield f"configs/{name} lacks '{key}' ({meaning}), which MONAI asks {kind} for: add it"


def _built(trial: TrialRun, name: str) -> Iterator[str]:
    """Build a config's components, and run a training, since other configs read its results."""
    kind, _ = WORKFLOWS[name]
    files, settings = trial.config_files(name), trial.settings(name)
    try:
        workflow = create_workflow(config_file=files, workflow_type=kind, logging_file=False, **settings)
        wrong = workflow.check_properties()
        if name == "train.json":
            workflow.run()
    except Exception as error:  # whatever the bundle's components raise
        cause = find_typed_error(error) or _innermost(error)
        yield f"configs/{name} can't be built: {type(cause).__name__}: {cause}: correct what it names"
        return
    for property_name in wrong or ():
        key = workflow.properties[property_name][BundlePropertyConfig.ID]
        yield f"configs/{name}: '{property_name}' must stand under '{key}' and be referred to as '@{key}': move it"


def _innermost(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def training_step(trial: TrialRun) -> Iterator[str]:
    """``training`` runs to its end and saves weights."""
    if "train.json" not in trial.bundle.configs:
        raise CheckSkipped("no configs/train.json")
    problems = [*trial.run("train.json", "training")]
    yield from problems
    if not problems and not any(trial.output_dir("train.json").rglob("*.safetensors")):
        yield "'training' of configs/train.json left no .safetensors in output_dir: save what was trained"


def generation_step(trial: TrialRun) -> Iterator[str]:
    """inference.json runs on what was just trained, and marks its images as synthetic.

    A bundle of a diffusers model without inference.json draws an image with the model.
    """
    configs = trial.bundle.configs
    if "inference.json" in configs:
        reads_training = "train.json" in configs and configs["inference.json"].keys() & TRAINED.keys()
        if reads_training and not trial.output_dir("train.json").is_dir():
            raise CheckSkipped("nothing was trained that it could read: see training_step")
        run_id = next((run_id for run_id in RUN_IDS["inference.json"] if run_id in configs["inference.json"]), "run")
        problems = [*trial.run("inference.json", run_id)]
        yield from problems or _missing_results(trial, run_id)
    elif (trial.bundle.folder / "models" / "model_index.json").is_file():
        yield from _pipeline_image(trial)
    else:
        raise CheckSkipped("neither configs/inference.json nor a diffusers model in models/")


def _missing_results(trial: TrialRun, run_id: str) -> Iterator[str]:
    folder = trial.output_dir("inference.json")
    if not any(path.is_file() for path in folder.rglob("*")):
        yield f"'{run_id}' of configs/inference.json left nothing in output_dir: save what it finds"
    elif run_id == "generating":
        if not any(folder.glob("images/*.png")):
            yield "'generating' of configs/inference.json left no images/*.png in output_dir: save the images"
        log = folder / "provenance.jsonl"
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
        if not lines or not all(line.get("synthetic") is True for line in lines):
            yield "'generating' of configs/inference.json left no provenance.jsonl with \"synthetic\": true: write it"


def _pipeline_image(trial: TrialRun) -> Iterator[str]:
    try:
        pipeline = DiffusionPipeline.from_pretrained(trial.bundle.folder / "models", local_files_only=True)
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(0)
        images = pipeline("a picture", num_inference_steps=1, generator=generator, output_type="np").images
    except Exception as error:  # whatever is wrong with the folder
        yield f"models/ can't draw an image: {type(error).__name__}: {error}: export the base model anew"
        return
    if not np.isfinite(images).all():
        yield "models/ draws an image that is not finite: export the base model anew"
