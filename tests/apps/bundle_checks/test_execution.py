# SPDX-License-Identifier: Apache-2.0
"""What is said of bundles that can't be built, trained or generated with: runs are stood in for, but for a few."""

import json
import subprocess

import pytest
from configs_of_bundles import REPOSITORY

from medti_components.apps.bundle_checks import execution
from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_checks.check_result import CheckSkipped, run_check
from medti_components.apps.bundle_checks.execution import TrialRun

LINE = "error: 'x.mha' is truncated: download it again"


@pytest.fixture
def trial(good_bundle, tmp_path, monkeypatch):
    """Trial runs of a bundle whose data nobody reads."""
    monkeypatch.setattr(TrialRun, "dataset_dir", tmp_path / "studies")
    return TrialRun(Bundle(good_bundle), tmp_path / "results", tmp_path / "data")


@pytest.fixture
def stand_in(monkeypatch):
    """Let a function (command, cwd) -> status and stderr stand in for other processes."""

    def stand_in(answer):
        def run(command, cwd, **_):
            status, stderr = answer(command, cwd)
            return subprocess.CompletedProcess(command, status, "", stderr)

        monkeypatch.setattr(subprocess, "run", run)

    return stand_in


def problems(check, trial):
    return run_check("check", lambda: check(trial)).problems


def left_out(check, trial):
    return run_check("check", lambda: check(trial)).reason


def test_failed_run_is_told_by_its_last_line(trial, stand_in):
    stand_in(lambda command, cwd: (1, f"a warning\n{LINE}\n"))
    assert problems(execution.training_step, trial) == (
        f"'training' of configs/train.json ended with status 1: {LINE}: correct what it names",
    )
    trial.output_dir("train.json").mkdir(parents=True)
    assert problems(execution.generation_step, trial) == (
        f"'generating' of configs/inference.json ended with status 1: {LINE}: correct what it names",
    )


def test_run_gets_the_smallest_settings_and_the_embedded_base(trial, stand_in):
    commands = []
    stand_in(lambda command, cwd: (commands.append(command), (0, ""))[1])
    problems(execution.training_step, trial)
    (command,) = commands
    assert command[1:5] == ["-m", "monai.bundle", "run", "training"]
    options = dict(zip(command[5::2], command[6::2], strict=True))
    assert options["--max_steps"] == "1" and options["--device"] == "cpu" and "--num_scenes" not in options
    assert options["--config_file"].endswith("configs/embedded.json']")


def test_run_that_leaves_nothing_fails(trial, stand_in):
    stand_in(lambda command, cwd: (0, ""))
    assert "left no .safetensors in output_dir: save what was trained" in problems(execution.training_step, trial)[0]
    trial.output_dir("train.json").mkdir(parents=True)
    assert problems(execution.generation_step, trial) == (
        "'generating' of configs/inference.json left nothing in output_dir: save what it finds",
    )


def test_images_must_be_there_and_marked_synthetic(trial, stand_in):
    def write(command, cwd):
        folder = trial.output_dir("inference.json")
        folder.mkdir(parents=True)
        (folder / "provenance.jsonl").write_text(json.dumps({"prompt": "a"}))
        return 0, ""

    stand_in(write)
    trial.output_dir("train.json").mkdir(parents=True)
    assert problems(execution.generation_step, trial) == (
        "'generating' of configs/inference.json left no images/*.png in output_dir: save the images",
        "'generating' of configs/inference.json left no provenance.jsonl with \"synthetic\": true: write it",
    )


def test_run_that_does_not_end_is_stopped(trial, monkeypatch):
    def run(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", run)
    assert problems(execution.training_step, trial) == (
        "'training' of configs/train.json took over 600 s: make the smallest settings quick",
    )


def test_generation_without_what_it_reads_is_left_out(trial):
    assert left_out(execution.generation_step, trial) == "nothing was trained that it could read: see training_step"


def test_bundle_without_training_or_generation_is_left_out(trial):
    trial.bundle.configs.clear()
    assert left_out(execution.training_step, trial) == "no configs/train.json"
    assert "neither configs/inference.json nor a diffusers model" in left_out(execution.generation_step, trial)
    assert "no config offers a workflow of MONAI's" in left_out(execution.properties, trial)


def test_base_model_draws_an_image(trial, micro_base):
    trial.bundle.configs.clear()
    (trial.bundle.folder / "models").symlink_to(micro_base)
    assert problems(execution.generation_step, trial) == ()


def test_base_model_without_weights_is_told(trial):
    trial.bundle.configs.clear()
    (trial.bundle.folder / "models").mkdir()
    (trial.bundle.folder / "models" / "model_index.json").write_text("{}")
    (problem,) = problems(execution.generation_step, trial)
    assert problem.startswith("models/ can't draw an image:") and problem.endswith("export the base model anew")


def test_base_model_of_weights_that_are_not_finite_is_told(trial, monkeypatch):
    class Pipeline:
        images = float("nan")

        def set_progress_bar_config(self, disable):
            pass

        def __call__(self, *_, **__):
            return self

    trial.bundle.configs.clear()
    (trial.bundle.folder / "models").mkdir()
    (trial.bundle.folder / "models" / "model_index.json").write_text("{}")
    monkeypatch.setattr(execution.DiffusionPipeline, "from_pretrained", lambda *_, **__: Pipeline())
    assert problems(execution.generation_step, trial) == (
        "models/ draws an image that is not finite: export the base model anew",
    )


def test_components_that_fail_are_told_by_the_line_a_user_would_see(trial):
    (problem,) = problems(execution.properties, trial)
    assert problem.startswith("configs/train.json can't be built: ") and "base_model" in problem


def test_property_under_another_name_is_told(good_bundle, tmp_path):
    path = good_bundle / "configs" / "train.json"
    config = json.loads(path.read_text())
    config["train"]["callbacks"] = config["train"].pop("handlers")
    config["train"]["trainer"]["train_handlers"] = "@train::callbacks"
    path.write_text(json.dumps(config))
    (tmp_path / "bundles" / "tiny_latent_diffusion" / "models").symlink_to(
        REPOSITORY / "bundles" / "tiny_latent_diffusion" / "models"
    )
    (problem,) = problems(execution.properties, TrialRun(Bundle(good_bundle), tmp_path / "results", tmp_path / "data"))
    assert problem == (
        "configs/train.json: 'train_handlers' must stand under 'train::handlers' and be referred to as "
        "'@train::handlers': move it"
    )


def test_phantoms_are_those_that_the_concepts_are_named_after(good_bundle, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        execution.Phantoms, "prostate_mri", lambda self, output_dir, num_positive=1: drawn.append(output_dir)
    )
    monkeypatch.setattr(execution.Phantoms.prostate_mri, "__name__", "prostate_mri")
    trial = TrialRun(Bundle(good_bundle), tmp_path / "results", tmp_path / "data")
    assert trial.dataset_dir == tmp_path / "data" / "prostate_mri"
    assert drawn == [str(trial.dataset_dir)]


def test_data_that_no_phantoms_stand_in_for_is_told(good_bundle, tmp_path):
    bundle = Bundle(good_bundle)
    bundle.configs["train.json"]["concepts"] = ["<brain_mri_tumor>"]
    with pytest.raises(CheckSkipped, match="no phantoms stand in for its data: the command phantoms has chest_xray"):
        TrialRun(bundle, tmp_path / "results", tmp_path / "data").settings("train.json")
