# SPDX-License-Identifier: Apache-2.0
"""The training config as a MONAI bundle workflow, and as a user runs it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import SimpleITK
from configs_of_bundles import CONFIGS, PROSTATE, short_name
from monai.bundle import ConfigWorkflow
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from safetensors import safe_open


def test_training_exposes_what_other_applications_look_for(training: dict[str, Any]) -> None:
    keys = {key: str(value) if isinstance(value, Path) else value for key, value in training.items()}
    workflow = ConfigWorkflow(str(PROSTATE / "train.json"), workflow_type="train", logging_file=False, **keys)
    workflow.initialize()

    assert workflow.check_properties() == []
    assert isinstance(workflow.trainer, SupervisedTrainer)
    assert isinstance(workflow.evaluator, SupervisedEvaluator)
    assert sorted(workflow.trainer.network.state_dict()) == [
        "<prostate_mri_negative>.rows",
        "<prostate_mri_positive>.rows",
    ]


def test_the_papers_values_are_the_defaults() -> None:
    config = json.loads((PROSTATE / "train.json").read_text())
    expected = {"num_vectors": 64, "num_cases": 100, "max_steps": 50000, "batch_size": 1, "learning_rate": 0.005}
    expected |= {"learning_rate_schedule": "constant", "accumulation_steps": 1}

    assert {key: config[key] for key in expected} == expected
    assert (config["optimizer"]["_target_"], config["optimizer"]["weight_decay"]) == ("torch.optim.AdamW", 0.0)


def test_training_leaves_everything_in_the_output_folder(
    run_config: Callable[..., None], training: dict[str, Any]
) -> None:
    run_config(
        "training",
        [PROSTATE / "train.json"],
        **{**training, "max_steps": 2, "preview_interval": 1, "validation_interval": 1},
        **{"train::handlers::4::sampler::num_inference_steps": 2},
    )

    output = training["output_dir"]
    names = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    assert {name for name in names if not name.startswith("tensorboard/")} == {
        ".lock",
        "config.json",
        "checkpoints/step_00000002.safetensors",
        "embeddings/prostate_mri_negative.safetensors",
        "embeddings/prostate_mri_positive.safetensors",
        "held_out_loss.csv",
        "held_out_loss.json",
        "previews/prostate_mri_negative_000001.png",
        "previews/prostate_mri_negative_000002.png",
        "previews/prostate_mri_positive_000001.png",
        "previews/prostate_mri_positive_000002.png",
        "training_curves.png",
    }
    assert any(name.startswith("tensorboard/events") for name in names)
    with safe_open(output / "embeddings" / "prostate_mri_positive.safetensors", "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["preprocessing"])["_target_"] == "Compose"
    assert '"spatial_size": [30, 300, 300]' in metadata["preprocessing"]  # 150 mm of 0.5 mm
    assert "@" not in metadata["preprocessing"] and metadata["field_of_view_mm"] == "150.0"
    assert metadata["data_license"] and metadata["seed"] == "0" and metadata["modality"] == "prostate_mri"
    assert json.loads((output / "config.json").read_text())["max_steps"] == 2


def test_resuming_with_another_seed_ends_in_one_line_that_names_it(
    run_config: Callable[..., None], line_of: Callable[..., str], training: dict[str, Any]
) -> None:
    run_config("training", [PROSTATE / "train.json"], **training)

    line = line_of("training", [PROSTATE / "train.json"], **{**training, "resume": True, "seed": 1})

    assert line.startswith("error: seed is 1, but the checkpoint in ")


def test_resuming_on_other_images_ends_in_one_line(
    run_config: Callable[..., None],
    line_of: Callable[..., str],
    training: dict[str, Any],
    damaged_picai: Path,
    tmp_path: Path,
) -> None:
    training |= {"dataset_dir": damaged_picai, "cache_dir": tmp_path / "cache"}
    run_config("training", [PROSTATE / "train.json"], **training)
    resumed = {**training, "resume": True, "max_steps": 2}
    others = "error: dataset_dir or preprocessing holds other images than the checkpoint in "

    line = line_of("training", [PROSTATE / "train.json"], **{**resumed, "field_of_view_mm": 120.0})
    assert line.startswith("error: field_of_view_mm is 120.0, but the checkpoint in ")
    changed = {**resumed, "preprocessing::transforms::2::maxv": 0.5}
    assert line_of("training", [PROSTATE / "train.json"], **changed).startswith(others)
    for path in damaged_picai.glob("images/*/*_t2w.mha"):
        volume = SimpleITK.ReadImage(path)
        path.unlink()
        SimpleITK.WriteImage(SimpleITK.Square(SimpleITK.Cast(volume, SimpleITK.sitkFloat32)), path)
    assert line_of("training", [PROSTATE / "train.json"], **resumed).startswith(others)


def test_resuming_goes_on_by_the_default_run_id(run_config: Callable[..., None], training: dict[str, Any]) -> None:
    run_config("run", [PROSTATE / "train.json"], **training)
    run_config("run", [PROSTATE / "train.json"], **{**training, "resume": True, "max_steps": 3})

    with safe_open(training["output_dir"] / "embeddings" / "prostate_mri_negative.safetensors", "pt") as file:
        assert file.metadata()["steps"] == "3"
    assert not (training["output_dir"] / "earlier_runs").exists()


MISTAKES = {
    "dataset_dir": "no/such/folder",
    "num_vectors": 100,
    "num_cases": 5000,
    "concepts": ["prostate"],
    "train::handlers::4::sampler::scheduler": "EulerScheduler",
}


def test_another_optimizer_trains_and_is_part_of_what_is_recorded_and_compared(
    run_config: Callable[..., None], line_of: Callable[..., str], training: dict[str, Any]
) -> None:
    other = {**training, "optimizer::_target_": "torch.optim.NAdam"}
    run_config("training", [PROSTATE / "train.json"], **other)

    with safe_open(training["output_dir"] / "embeddings" / "prostate_mri_negative.safetensors", "pt") as file:
        metadata = file.metadata()
    recorded = {"_target_": "torch.optim.NAdam", "lr": 0.005, "weight_decay": 0.0}
    assert json.loads(metadata["optimizer"]) == recorded
    line = line_of("training", [PROSTATE / "train.json"], **{**training, "resume": True})
    assert line.startswith("error: optimizer is ") and "torch.optim.NAdam" in line


@pytest.mark.parametrize(
    ("overrides", "pattern"),
    [
        ({"_target_": "torch.optim.NAdamm"}, "optimizer::_target_ 'torch.optim.NAdamm' does not exist: "),
        ({"_target_": "torch.optim.LBFGS"}, "optimizer LBFGS can't do a step by gradients alone "),
        ({"_target_": "torch.optim.SparseAdam"}, "optimizer SparseAdam can't do a step by gradients alone "),
        ({"_target_": "torch.optim.SGD", "weight_decai": 1}, "unknown key 'optimizer::weight_decai': did you mean "),
    ],
)
def test_an_optimizer_that_can_t_train_ends_in_one_line_with_the_folder_as_it_was(
    line_of: Callable[..., str], training: dict[str, Any], overrides: dict[str, Any], pattern: str
) -> None:
    keys = {f"optimizer::{key}": value for key, value in overrides.items()}
    line = line_of("training", [PROSTATE / "train.json"], **training, **keys)

    assert line.startswith(f"error: {pattern}")
    assert not training["output_dir"].exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_command_with_a_mistake_leaves_a_finished_run_as_it_was(
    run_config: Callable[..., None], training: dict[str, Any]
) -> None:
    run_config("training", [PROSTATE / "train.json"], **training)
    before = contents(training["output_dir"])

    for key, value in MISTAKES.items():
        with pytest.raises(Exception):  # noqa: B017  (what is raised is tested elsewhere)
            run_config("training", [PROSTATE / "train.json"], **{**training, key: value})
        assert contents(training["output_dir"]) == before, key


def test_a_command_with_a_mistake_makes_no_folder(line_of: Callable[..., str], training: dict[str, Any]) -> None:
    line_of("training", [PROSTATE / "train.json"], **{**training, "dataset_dir": "no/such/folder"})

    assert not training["output_dir"].exists()


@pytest.mark.parametrize("config", [path for path in CONFIGS if path.stem == "train"], ids=short_name)
def test_resuming_where_there_is_nothing_to_resume_ends_in_one_line(
    line_of: Callable[..., str], tmp_path: Path, config: Path
) -> None:
    line = line_of("training", [config], output_dir=tmp_path / "new", resume=True)

    assert line.startswith(f"error: no checkpoint in '{tmp_path / 'new'}', so nothing to resume: leave out --resume")


def test_two_workflows_on_one_folder_leave_each_others_files(training: dict[str, Any]) -> None:
    keys = {key: str(value) if isinstance(value, Path) else value for key, value in training.items()}
    first, second = (
        ConfigWorkflow(str(PROSTATE / "train.json"), workflow_type="train", logging_file=False, **keys)
        for _ in range(2)
    )
    first.initialize()
    first.run()
    before = contents(training["output_dir"])
    second.initialize()
    assert second.trainer is not None

    assert contents(training["output_dir"]) == before
