# SPDX-License-Identifier: Apache-2.0
"""Whether a bundle works: its components can be built, a step trained, an image generated."""

import json
from collections.abc import Iterator

import numpy as np
import torch
from diffusers import DiffusionPipeline
from monai.bundle import ConfigParser, create_workflow
from monai.bundle.properties import InferProperties, TrainProperties
from monai.utils import BundleProperty, BundlePropertyConfig

from medti_components.apps.bundle_checks.check_result import CheckSkipped
from medti_components.apps.bundle_checks.structure import RUN_IDS
from medti_components.apps.bundle_checks.trial_run import TRAINED, TrialRun
from medti_components.bundle.error_line import find_typed_error

WORKFLOWS = {
    "train.json": ("training", TrainProperties),
    "inference.json": ("inference", InferProperties),
    "evaluate.json": ("evaluation", InferProperties),
}


def properties(trial: TrialRun) -> Iterator[str]:
    """Each config has what MONAI's tools ask a workflow for, and all of it can be built.

    A train.json without a section ``train`` does not offer itself as MONAI's training workflow and is left out.
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
    """Build a config's components; let a training take its step too, since other configs read what it leaves."""
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
    """``training`` runs to its end and leaves weights."""
    if "train.json" not in trial.bundle.configs:
        raise CheckSkipped("no configs/train.json")
    problems = [*trial.run("train.json", "training")]
    yield from problems
    if not problems and not any(trial.output_dir("train.json").rglob("*.safetensors")):
        yield "'training' of configs/train.json left no .safetensors in output_dir: save what was trained"


def generation_step(trial: TrialRun) -> Iterator[str]:
    """inference.json runs on what was just trained; what it generates is marked synthetic.

    A bundle without one, that has a diffusers model, draws an image with that.
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
