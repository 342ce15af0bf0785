# SPDX-License-Identifier: Apache-2.0
"""``--dry_run true`` tells what a run of any bundle would do, and leaves nothing."""

import re

import pytest
import torch
from configs_of_bundles import CHEST, CLASSIFICATION, HISTOPATHOLOGY, PROSTATE, REPOSITORY
from generated_runs import write_run
from PIL import Image

from medti_components.networks.embedding_files.embedding_file import save_embedding


@pytest.fixture
def told(run_config, capsys, tmp_path):
    """Make a dry run, and return what it tells; it must not leave a file."""

    def told(run_id, config_files, **overrides):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as ended:
            run_config(run_id, config_files, **{**overrides, "dry_run": "true"})
        assert ended.value.code == 0
        assert sorted(tmp_path.rglob("*")) == before
        return capsys.readouterr().out

    return told


def row(text, name):
    """Return the cells of the line that begins with ``name``."""
    return re.split(r"\s{2,}", re.search(rf"^  {re.escape(name)} .*$", text, re.MULTILINE)[0].strip())[1:]


@pytest.fixture
def generating(micro_base, tmp_path):
    """Keys of a generation with one word of width 32."""
    save_embedding(tmp_path / "words" / "a_word.safetensors", "<a_word>", torch.zeros(2, 32), {"base_model": "a base"})
    return {
        "base_model": micro_base,
        "embeddings": tmp_path / "words",
        "output_dir": tmp_path / "out",
        "num_images": 5,
        "batch_size": 2,
        "num_inference_steps": 2,
        "show_progress": False,
        "device": "cpu",
    }


def test_training_tells_settings_data_steps_time_and_memory(told, training, tmp_path):
    keys = {**training, "cache_dir": tmp_path / "cache", "max_steps": 7, "preview_interval": 4}
    text = told("training", [PROSTATE / "train.json"], **keys)
    assert text.startswith("Dry run of 'training': nothing is written.\n")
    assert re.search(r"^\* max_steps +7$", text, re.MULTILINE)
    assert re.search(r"^  batch_size +1$", text, re.MULTILINE)
    assert row(text, "train") == ["2", "2", "4"]
    assert row(text, "validate") == ["1", "1", "2"]
    assert row(text, "starting and loading")[0] == "1"
    head = (
        r"^cases left by each filter\n  <prostate_mri_negative>: (\d+) rows of 'marksheet.csv', \1 with a case_csPCa, "
    )
    assert re.search(head + r"\1 with images, (\d+) with case_csPCa NO, \2 of patients without", text, re.MULTILINE)
    assert row(text, "images prepared")[0] == "6"
    assert row(text, "images encoded")[0] == "6"
    assert row(text, "steps of train::trainer")[0] == "7"
    assert row(text, "held-out losses")[0] == "3"
    assert row(text, "preview pictures")[0] == "4"
    assert re.search(r"^Time: about .* on 'cpu'\. ", text, re.MULTILINE)
    assert re.search(r"^Memory: \d+\.\d GB of main memory: the peak of this process, ", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("run_id", "overrides", "num_batches"),
    [
        ("generating", {}, "3"),
        ("interpolating", {"concepts": ["<a_word>", "<a_word>"], "interpolation_weights": [0.5]}, "3"),
        ("inpainting", {"mask": "ellipse(16,16,12,12)"}, "3"),
    ],
)
def test_what_is_drawn_is_told_in_batches(told, generating, tmp_path, run_id, overrides, num_batches):
    if run_id == "inpainting":
        Image.new("RGB", (32, 32)).save(tmp_path / "x.png")
        overrides = {**overrides, "image": tmp_path / "x.png"}
    text = told(run_id, [PROSTATE / "inference.json"], **{**generating, **overrides})
    assert row(text, "batches of images")[0] == num_batches


@pytest.mark.parametrize("folder", [CHEST, HISTOPATHOLOGY], ids=["chest", "histopathology"])
def test_other_bundles_tell_too(told, folder, chest_training, patch_training, tmp_path):
    keys = chest_training if folder == CHEST else patch_training
    text = told("training", [folder / "train.json"], **{**keys, "cache_dir": tmp_path / "cache"})
    assert row(text, "steps of train::trainer")[0] == "1"


def test_a_classifier_s_training_and_a_classification(told, classifying_training, trained_classifier, tmp_path):
    keys = {**classifying_training, "cache_dir": tmp_path / "cache"}
    text = told("training", [CLASSIFICATION / "train.json"], **{**keys, "num_batches": 9})
    assert row(text, "steps of train::trainer")[0] == "9"
    assert int(row(text, "batches of validation")[0]) > 0
    inference = {key: keys[key] for key in ("cache_dir", "classifier_image_size", "show_progress", "device")}
    text = told(
        "classifying",
        [CLASSIFICATION / "inference.json"],
        **inference,
        dataset_dir=keys["synthetic_dir"],
        classifier=trained_classifier,
        classifier_batch_size=5,
        output_dir=tmp_path / "none",
    )
    assert row(text, "batches of images")[0] == "3"


def test_an_evaluation_tells_its_data_and_its_classifier_s_steps_over_an_overlay(told, patches, tmp_path):
    text = told(
        "evaluating",
        [HISTOPATHOLOGY / "evaluate.json", REPOSITORY / "configs" / "embedded.json"],
        dataset_dir=patches,
        generated_dir=write_run(tmp_path / "generated", ["<histopathology_normal>", "<histopathology_tumor>"] * 3, 64),
        embeddings=None,
        cache_dir=tmp_path / "cache",
        output_dir=tmp_path / "out",
        num_cases=2,
        num_validation_cases=1,
        num_test_cases=3,
        num_classifier_cases=4,
        num_classifier_validation_cases=1,
        classifier_epochs=5,
        classifier_batch_size=3,
        show_progress=False,
        device="cpu",
    )
    assert row(text, "reference") == ["3", "3", "6"]
    assert row(text, "learned_from") == ["2", "2", "4"]
    assert row(text, "train") == ["4", "4", "8"]
    assert row(text, "steps of train::trainer")[0] == "15"


def test_a_base_model_of_the_hub_that_is_not_here_is_not_fetched(told, training, tmp_path):
    keys = {**training, "base_model": "nobody/no-such-model", "cache_dir": tmp_path / "cache"}
    text = told("training", [PROSTATE / "train.json"], **keys)
    assert row(text, "train") == ["2", "2", "4"]
    assert text.rstrip().endswith(
        "Time and memory: not measured, since base_model 'nobody/no-such-model' is not on this machine; "
        "the first run fetches it."
    )


def test_a_mistake_is_told_as_in_the_run_itself(line_of, training):
    overrides = {**training, "num_cases": 40, "dry_run": True}
    line = line_of("training", [PROSTATE / "train.json"], **overrides)
    assert "num_cases asks for 40" in line
