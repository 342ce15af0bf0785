# SPDX-License-Identifier: Apache-2.0
"""Runs of the bundles' own configs in this process, on phantoms and the micro base model."""

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from configs_of_bundles import CLASSIFICATION, REPOSITORY
from generated_runs import write_run
from monai.bundle import run
from transformers import ResNetConfig, ResNetForImageClassification

from medti_components.bundle.error_line import error_line
from medti_components.data.datasets.radiographs import FINDINGS
from medti_components.data.phantoms.chest_phantom import write_chest_studies
from medti_components.data.phantoms.histology_phantom import write_histology_patches
from medti_components.data.phantoms.prostate_phantom import write_prostate_studies


@pytest.fixture(scope="session")
def picai(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of five negative and five positive phantom studies. Read only."""
    folder = tmp_path_factory.mktemp("picai")
    write_prostate_studies(folder, num_negative=5, num_positive=5, seed=0, show_progress=False)
    return folder


@pytest.fixture
def damaged_picai(picai: Path, tmp_path: Path) -> Path:
    """The studies again, as links that a test may remove or replace."""
    return Path(shutil.copytree(picai, tmp_path / "damaged", copy_function=os.symlink))


@pytest.fixture(scope="session")
def chexpert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of four phantom radiographs of each finding, and four others. Read only."""
    folder = tmp_path_factory.mktemp("chexpert")
    write_chest_studies(folder, dict.fromkeys(FINDINGS, 4), seed=0, show_progress=False)
    return folder


@pytest.fixture
def damaged_chexpert(chexpert: Path, tmp_path: Path) -> Path:
    """The radiographs again, as links that a test may remove or replace."""
    return Path(shutil.copytree(chexpert, tmp_path / "damaged", copy_function=os.symlink))


@pytest.fixture(scope="session")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of Patch Camelyon's six files, eight phantoms of each class in each pair. Read only."""
    folder = tmp_path_factory.mktemp("patches")
    write_histology_patches(folder, num_normal=8, num_tumor=8, seed=0, show_progress=False)
    return folder


@pytest.fixture
def damaged_patches(patches: Path, tmp_path: Path) -> Path:
    """The files again, for a test to damage."""
    return Path(shutil.copytree(patches, tmp_path / "damaged"))


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared images shared by the runs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run_config(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Run configs as ``monai.bundle run`` does, from the repository's root, and leave this process as it was."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run_config(run_id: str, config_files: Sequence[Path], **overrides: Any) -> None:
        texts = {key: str(value) if isinstance(value, Path) else value for key, value in overrides.items()}
        run(run_id, config_file=[str(path) for path in config_files], logging_file=False, **texts)

    with warnings.catch_warnings():
        yield run_config


@pytest.fixture
def line_of(run_config: Callable[..., None]) -> Callable[..., str]:
    """Run configs that must fail, and return the line that a user would see."""

    def line_of(*arguments: Any, **overrides: Any) -> str:
        with pytest.raises(Exception) as caught:  # MONAI wraps what configs raise
            run_config(*arguments, **overrides)
        line = error_line(caught.value)
        if line is None:
            raise caught.value
        assert "\n" not in line or line.endswith("^")  # a prompt is shown with a caret under the fault
        return line

    return line_of


@pytest.fixture
def quick_training(cache_dir: Path, micro_base: Path, tmp_path: Path) -> dict[str, Any]:
    """Keys that make the training of any bundle a matter of a second."""
    return {
        "cache_dir": cache_dir,
        "output_dir": tmp_path / "training",
        "base_model": micro_base,
        "num_cases": 2,
        "num_validation_cases": 1,
        "num_vectors": 2,
        "max_steps": 1,
        "preview_interval": 0,
        "show_progress": False,
        "device": "cpu",
    }


@pytest.fixture
def training(quick_training: dict[str, Any], picai: Path) -> dict[str, Any]:
    """Keys of a quick training of the prostate bundle."""
    return {**quick_training, "dataset_dir": picai}


@pytest.fixture
def chest_training(quick_training: dict[str, Any], chexpert: Path) -> dict[str, Any]:
    """Keys of a quick training of the chest bundle."""
    return {**quick_training, "dataset_dir": chexpert}


@pytest.fixture
def patch_training(quick_training: dict[str, Any], patches: Path) -> dict[str, Any]:
    """Keys of a quick training of the histopathology bundle."""
    return {**quick_training, "dataset_dir": patches}


@pytest.fixture(scope="session")
def micro_resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny ResNet of random weights, with a head for photographs, in transformers' layout. Read only."""
    folder = tmp_path_factory.mktemp("resnet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=1000
        )
        ResNetForImageClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def synthetic_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generating run's folder of six random pictures a class. Read only."""
    return write_run(tmp_path_factory.mktemp("synthetic"), ["<prostate_mri_negative>", "<prostate_mri_positive>"] * 6)


@pytest.fixture
def classifying(picai: Path, cache_dir: Path, tmp_path: Path) -> dict[str, Any]:
    """What all three configs take, for images of 32 pixels."""
    return {
        "dataset_dir": picai,
        "cache_dir": cache_dir,
        "output_dir": tmp_path / "out",
        "classifier_image_size": 32,
        "show_progress": False,
        "device": "cpu",
    }


@pytest.fixture
def classifier_splits() -> dict[str, int]:
    """Two training cases a class, one to validate on, two to test on."""
    return {"num_training_cases": 2, "num_validation_cases": 1, "num_test_cases": 2}


@pytest.fixture
def classifying_training(
    classifying: dict[str, Any], classifier_splits: dict[str, int], micro_resnet: Path, synthetic_pictures: Path
) -> dict[str, Any]:
    """Keys that make a training a matter of a second."""
    return {
        **classifying,
        **classifier_splits,
        "pretrained_model": micro_resnet,
        "synthetic_dir": synthetic_pictures,
        "num_real": 4,
        "num_synthetic": 4,
        "num_batches": 1,
        "classifier_batch_size": 4,
        "num_workers": 0,
    }


@pytest.fixture
def trained_classifier(run_config: Callable[..., None], classifying_training: dict[str, Any], tmp_path: Path) -> Path:
    """A classifier's file after one batch, of the micro ResNet."""
    run_config(
        "training", [CLASSIFICATION / "train.json"], **{**classifying_training, "output_dir": tmp_path / "trained"}
    )
    return tmp_path / "trained" / "classifier.safetensors"
