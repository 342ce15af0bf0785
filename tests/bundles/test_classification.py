# SPDX-License-Identifier: Apache-2.0
"""The classification bundle: alone and under each overlay, resumed, and with unfit input."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from configs_of_bundles import CHEST, CLASSIFICATION, HISTOPATHOLOGY, OVERLAYS, PROSTATE, REPOSITORY, load
from generated_runs import write_run
from monai.bundle import ConfigParser, ConfigWorkflow
from safetensors.torch import load_file, save_file
from transformers import ResNetConfig, ResNetForImageClassification

from medti_components.transforms.image_preprocessing import image_preprocessing
from medti_components.transforms.transform_fingerprint import transform_fingerprint

TRAIN, EVALUATE, INFERENCE = ([CLASSIFICATION / f"{name}.json"] for name in ("train", "evaluate", "inference"))
STACKS = [[], *([overlay] for overlay in OVERLAYS)]
EMBEDDED = [REPOSITORY / "configs" / "embedded.json"]
NEGATIVE, POSITIVE = "<prostate_mri_negative>", "<prostate_mri_positive>"
IMAGES = ("architecture", "classifier_image_size", "dataset_format", "concepts", "sequences", "field_of_view_mm")
SIZE = 32


def stack_name(stack):
    return stack[0].stem if stack else "alone"


@pytest.fixture(scope="session")
def micro_resnet(tmp_path_factory) -> Path:
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
def synthetic(tmp_path_factory) -> Path:
    """A generating run's folder of six random pictures a class. Read only."""
    return write_run(tmp_path_factory.mktemp("synthetic"), [NEGATIVE, POSITIVE] * 6)


@pytest.fixture
def keys(picai, cache_dir, tmp_path):
    """What all three configs take, for images of 32 pixels."""
    return {
        "dataset_dir": picai,
        "cache_dir": cache_dir,
        "output_dir": tmp_path / "out",
        "classifier_image_size": SIZE,
        "show_progress": False,
        "device": "cpu",
    }


@pytest.fixture
def splits():
    return {"num_training_cases": 2, "num_validation_cases": 1, "num_test_cases": 2}


@pytest.fixture
def classifying_training(keys, splits, micro_resnet, synthetic):
    """Keys that make a training a matter of a second."""
    return {
        **keys,
        **splits,
        "pretrained_model": micro_resnet,
        "synthetic_dir": synthetic,
        "num_real": 4,
        "num_synthetic": 4,
        "num_batches": 1,
        "classifier_batch_size": 4,
        "num_workers": 0,
    }


@pytest.fixture
def trained(run_config, classifying_training, tmp_path):
    """A classifier's file after one batch, of the micro ResNet."""
    run_config("training", TRAIN, **{**classifying_training, "output_dir": tmp_path / "trained"})
    return tmp_path / "trained" / "classifier.safetensors"


def rows(path):
    with open(path, newline="") as file:
        return [*csv.DictReader(file)]


@pytest.mark.parametrize("stack", STACKS, ids=stack_name)
def test_one_batch_of_training_then_evaluation_then_inference(
    run_config, classifying_training, keys, splits, synthetic, stack, tmp_path
):
    run_config("training", [*TRAIN, *stack], **classifying_training)
    output = classifying_training["output_dir"]
    assert [row["batch"] for row in rows(output / "validation.csv")] == ["1"]
    cases = [(row["split"], row["source"], row["concept"]) for row in rows(output / "cases.csv")]
    for concept in (NEGATIVE, POSITIVE):
        assert cases.count(("training", "real", concept)) == 2
        assert cases.count(("training", "synthetic", concept)) == 2
        assert cases.count(("validation", "real", concept)) == 1
    assert (output / "training_curves.png").is_file()
    assert [*(output / "tensorboard").iterdir()]

    keys |= {"classifier": output / "classifier.safetensors"}
    run_config("evaluating", [*EVALUATE, *stack], **{**keys, **splits, "output_dir": tmp_path / "evaluated"})
    metrics = json.loads((tmp_path / "evaluated" / "metrics.json").read_text())
    assert metrics["auc"]["n"] == {"positive": 2, "negative": 2}
    assert metrics["auc"]["confidence"] == 0.95
    assert sum(map(sum, metrics["confusion"]["counts"])) == 4
    assert metrics["confusion"]["threshold"] == 0.5
    assert metrics["classifier"]["num_synthetic"] == 4
    assert (tmp_path / "evaluated" / "report.html").is_file()

    run_config(
        "classifying", [*INFERENCE, *stack], **{**keys, "dataset_dir": synthetic, "output_dir": tmp_path / "said"}
    )
    said = rows(tmp_path / "said" / "probabilities.csv")
    assert [row["study_id"] for row in said] == [f"images/{number}.png" for number in range(12)]
    for row in said:
        both = float(row["prostate_mri_negative"]) + float(row["prostate_mri_positive"])
        assert both == pytest.approx(1)


def test_the_papers_values_are_the_defaults():
    config = load(TRAIN[0])
    expected = {"num_batches": 6250, "classifier_batch_size": 32, "classifier_learning_rate": 1e-4, "num_real": 200}
    expected |= {"num_training_cases": 100, "num_validation_cases": 100, "num_test_cases": 100}
    expected |= {"classifier_image_size": 196, "pretrained_model": "microsoft/resnet-18"}
    assert {key: config[key] for key in expected} == expected
    assert config["optimizer"]["_target_"] == "torch.optim.Adam"


def test_the_three_configs_agree_on_what_images_are_like():
    configs = [load(paths[0]) for paths in (TRAIN, EVALUATE, INFERENCE)]
    for key in (*IMAGES, "trained_with"):
        assert configs[0][key] == configs[1][key] == configs[2][key], key
    for key in ("num_training_cases", "num_validation_cases", "num_test_cases", "split_seed", "splits"):
        assert configs[0][key] == configs[1][key], key


@pytest.mark.parametrize(
    ("dataset_format", "configs"), [("picai", PROSTATE), ("chexpert", CHEST), ("nih", CHEST), ("pcam", HISTOPATHOLOGY)]
)
def test_real_images_are_prepared_as_for_the_words(dataset_format, configs):
    config = load(configs / "evaluate.json")
    section = {key: config[key] for key in ("preprocessing", "sequences", "field_of_view_mm") if key in config}
    own = ConfigParser({**section, "image_size": 64}).get_parsed_content("preprocessing")
    assert transform_fingerprint(image_preprocessing(dataset_format, 64)) == transform_fingerprint(own)


def test_bundle_exposes_what_other_applications_look_for(classifying_training, keys, trained, synthetic):
    for kind, path, own in (
        ("train", TRAIN[0], classifying_training),
        ("inference", INFERENCE[0], {**keys, "classifier": trained, "dataset_dir": synthetic}),
    ):
        texts = {key: str(value) if isinstance(value, Path) else value for key, value in own.items()}
        workflow = ConfigWorkflow(str(path), workflow_type=kind, logging_file=False, **texts)
        workflow.initialize()
        assert workflow.check_properties() == []


def test_resumed_training_ends_with_the_same_weights(run_config, classifying_training, tmp_path):
    training = {**classifying_training, "num_batches": 4, "classifier_validation_interval": 2, "checkpoint_interval": 2}
    run_config("training", TRAIN, **{**training, "output_dir": tmp_path / "whole"})
    parts = {**training, "output_dir": tmp_path / "parts"}
    run_config("training", TRAIN, **{**parts, "num_batches": 2})
    run_config("run", TRAIN, **{**parts, "resume": True, "num_workers": 1})
    first, second = (
        load_file(tmp_path / name / "checkpoints" / "step_00000004.safetensors") for name in ("whole", "parts")
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    whole, both = (load_file(tmp_path / name / "classifier.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], both[name]) for name in whole)
    assert rows(tmp_path / "whole" / "validation.csv") == rows(tmp_path / "parts" / "validation.csv")

    run_config("training", TRAIN, **{**parts, "resume": True})  # there is nothing left to do
    assert rows(tmp_path / "whole" / "validation.csv") == rows(tmp_path / "parts" / "validation.csv")


def test_no_batches_leave_the_initial_weights(run_config, classifying_training):
    run_config("training", TRAIN, **{**classifying_training, "num_batches": 0})
    output = classifying_training["output_dir"]
    assert (output / "classifier.safetensors").is_file()
    assert not (output / "checkpoints").exists()


def test_training_goes_on_from_another_classifier(run_config, line_of, classifying_training, trained):
    later = {**classifying_training, "initial_classifier": trained, "num_batches": 0}
    run_config("training", TRAIN, **{**later, "pretrained_model": "no/such-model"})
    first, second = load_file(trained), load_file(later["output_dir"] / "classifier.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    line = line_of("training", [*TRAIN, *EMBEDDED], **later)
    assert re.search(r"^error: architecture is 'small', but the classifier '.*' was trained with 'resnet'", line)


@pytest.mark.parametrize("level", ["none", "light", "medium"])
def test_augmentation_levels(run_config, classifying_training, level):
    run_config("training", TRAIN, **{**classifying_training, "num_synthetic": 0, "augmentation_level": level})


def test_radiographs_and_patches_train_by_the_same_config(
    run_config, classifying_training, chexpert, patches, synthetic, tmp_path
):
    for dataset_format, folder, concepts in (
        ("chexpert", chexpert, ["<chest_xray_no_finding>", "<chest_xray_pneumonia>"]),
        ("pcam", patches, ["<histopathology_normal>", "<histopathology_tumor>"]),
    ):
        overrides = {"dataset_dir": folder, "dataset_format": dataset_format, "concepts": concepts, "num_real": 2}
        overrides |= {"output_dir": tmp_path / dataset_format, "num_training_cases": 1, "num_test_cases": 1}
        generated = write_run(tmp_path / f"{dataset_format}_generated", concepts)
        overrides |= {"synthetic_dir": generated, "num_synthetic": 2}
        run_config("training", TRAIN, **{**classifying_training, **overrides})
        cases = rows(tmp_path / dataset_format / "cases.csv")
        assert [row["concept"] for row in cases if row["split"] == "training"] == [*concepts, *concepts]


def test_studies_without_labels_are_classified(run_config, keys, trained, picai, tmp_path):
    keys |= {"classifier": trained}
    run_config("classifying", INFERENCE, **keys)
    said = rows(tmp_path / "out" / "probabilities.csv")
    assert len(said) == 10
    patient = said[0]["patient_id"]
    without_masks = shutil.copytree(picai / "images" / patient, tmp_path / "one patient" / patient)
    run_config("run", INFERENCE, **{**keys, "dataset_dir": without_masks, "output_dir": tmp_path / "alone"})
    alone = rows(tmp_path / "alone" / "probabilities.csv")
    assert [(row["patient_id"], row["study_id"]) for row in alone] == [(patient, said[0]["study_id"])]


@pytest.mark.parametrize(
    ("overrides", "pattern"),
    [
        (
            {"num_real": 6},
            r"num_real asks for 3 cases of each class, num_training_cases sets aside 2: lower --num_real",
        ),
        ({"num_real": 3}, r"num_real must be an even number, half of each class, got 3"),
        (
            {"num_training_cases": 90},
            r"concept '<prostate_mri_negative>' has 5 cases, num_training_cases asks for 90 and num_validation_cases "
            r"for 1: lower --num_training_cases",
        ),
        ({"num_real": 0, "num_synthetic": 0}, r"num_real and num_synthetic must not both be 0"),
        ({"num_validation_cases": 0}, r"num_validation_cases must be at least 1, got 0"),
        ({"num_synthetic": 14}, r"synthetic_dir '.*' must hold 7 images of <.*>, got 6: .* --num_synthetic 12$"),
        ({"num_synthetic": 5}, r"num_synthetic must be an even number"),
        ({"synthetic_dir": None}, r"synthetic_dir must be the output_dir of a generating run .*, got None"),
        ({"synthetic_dir": "no/such/folder"}, r"synthetic_dir must be the output_dir of a generating run, 'no/such"),
        ({"classifier_image_size": 64}, r".* at least 64 pixels wide, got 32x32 .*: set --classifier_image_size 32"),
        ({"concepts": [POSITIVE]}, r"concepts must name the negative and the positive class, got \['<prostate"),
        ({"dataset_format": "dicom"}, r"dataset_format must be one of picai, chexpert, nih, pcam, got 'dicom'"),
        ({"dataset_format": "nih"}, r"concepts of chest radiographs must end in|dataset_dir '.*' has no 'Data_Entry"),
        ({"architecture": "vgg"}, r"architecture must be one of resnet, small, got 'vgg'"),
        ({"pretrained_model": "no/such-model"}, r"pretrained_model .* nor reachable .* configs/embedded.json"),
        ({"augmentation_level": "mild"}, r"augmentation_level must be one of none, light, medium, heavy, got 'mild'"),
        ({"classifier_batch_size": 0}, r"classifier_batch_size must be at least 1, got 0"),
        ({"num_batchs": 5}, r"unknown key 'num_batchs': did you mean 'num_batches'\?"),
        ({"max_steps": 5}, r"unknown key 'max_steps'"),
    ],
)
def test_setting_that_does_not_fit(line_of, classifying_training, overrides, pattern):
    assert re.search("^error: " + pattern, line_of("training", TRAIN, **{**classifying_training, **overrides}))


@pytest.mark.parametrize(
    ("prompts", "pattern"),
    [
        ([], r"synthetic_dir '.*' must hold 2 images of <prostate_mri_negative>, got 0"),
        ([NEGATIVE] * 4, r"synthetic_dir '.*' must hold 2 images of <prostate_mri_positive>, got 0: generate more"),
        (
            ["<chest_xray_pneumonia>"],
            r"'.*provenance.jsonl' line 1: prompt must name exactly one of <prostate_mri_negative>, .*, got '<chest",
        ),
    ],
    ids=["empty", "one class alone", "other concepts"],
)
def test_synthetic_images_that_do_not_fit(line_of, classifying_training, tmp_path, prompts, pattern):
    folder = write_run(tmp_path / "synthetic", prompts)
    line = line_of("training", TRAIN, **{**classifying_training, "synthetic_dir": folder})
    assert re.search("^error: " + pattern, line)


def test_row_of_the_marksheet_without_file(line_of, classifying_training, damaged_picai):
    missing = next(damaged_picai.glob("images/*/*_adc.mha"))
    missing.unlink()
    line = line_of("training", TRAIN, **{**classifying_training, "dataset_dir": damaged_picai})
    assert re.search(rf"^error: study '.*' has no ADC volume '.*{missing.name}': download it", line)


def test_class_without_a_case(line_of, classifying_training, damaged_picai):
    marksheet = damaged_picai / "picai_labels" / "clinical_information" / "marksheet.csv"
    lines = marksheet.read_text().splitlines()
    marksheet.unlink()
    marksheet.write_text("\n".join(line for line in lines if not line.startswith("15")) + "\n")
    line = line_of("training", TRAIN, **{**classifying_training, "dataset_dir": damaged_picai})
    assert re.search(r"^error: concept '<prostate_mri_positive>' has no cases in .*: add studies", line)


def test_patient_in_two_splits(line_of, keys, splits, trained):
    overrides = {**keys, **splits, "classifier": trained, "num_training_cases": 0, "num_test_cases": 4}
    line = line_of("evaluating", EVALUATE, **overrides)
    assert re.search(r"^error: patient '\d+' is in both training and test of '.*': set --split_seed", line)


def test_resuming_with_other_images_or_settings(run_config, line_of, classifying_training, tmp_path):
    run_config("training", TRAIN, **classifying_training)
    resumed = {**classifying_training, "resume": True}
    assert re.search("^error: seed is 1, but the checkpoint in", line_of("training", TRAIN, **{**resumed, "seed": 1}))
    line = line_of("training", TRAIN, **{**resumed, "num_batches": 0})
    assert re.search("^error: num_batches must be at least 1, the step of the checkpoint", line)
    other = write_run(tmp_path / "other", [POSITIVE, NEGATIVE] * 6)
    line = line_of("training", TRAIN, **{**resumed, "synthetic_dir": other})
    assert re.search("^error: dataset_dir or synthetic_dir holds other images than the checkpoint in", line)


def without_metadata(path):
    save_file(load_file(path), path)


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("damage", "pattern"),
    [
        (without_metadata, "does not say what it was trained on"),
        (cut, "is no whole safetensors file"),
        (Path.unlink, "does not exist"),
    ],
)
def test_file_that_is_no_classifier(line_of, keys, trained, damage, pattern):
    damage(trained)
    line = line_of("classifying", INFERENCE, **{**keys, "classifier": trained})
    assert re.search(rf"^error: classifier '.*' {pattern}: give the classifier.safetensors of a training run", line)


@pytest.mark.parametrize(
    ("overrides", "stack", "pattern"),
    [
        (
            {"classifier_image_size": 64},
            [],
            r"classifier_image_size is 64, but the classifier '.*' was trained with 32",
        ),
        ({}, EMBEDDED, r"architecture is 'small', but the classifier '.*' was trained with 'resnet': .*embedded.json"),
        ({"dataset_dir": "no/such/folder"}, [], r"dataset_dir 'no/such/folder' does not exist"),
        ({"dataset_dir": "docs"}, [], r"dataset_dir 'docs' has no picture \(.png, .jpg, .jpeg\) and no study"),
    ],
)
def test_inference_that_does_not_fit(line_of, keys, trained, overrides, stack, pattern):
    line = line_of("classifying", [*INFERENCE, *stack], **{**keys, "classifier": trained, **overrides})
    assert re.search("^error: " + pattern, line)


def test_threshold_must_be_a_probability(line_of, keys, splits, trained):
    line = line_of("evaluating", EVALUATE, **{**keys, **splits, "classifier": trained, "detection_threshold": 1.5})
    assert line == "error: detection_threshold must be a probability, 0 to 1, got 1.5"


def test_mistake_on_the_command_line_is_one_line_and_status_1(tmp_path):
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(INFERENCE[0])]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, "--dataset_dir", "no/such/folder"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.stderr.startswith("error: dataset_dir 'no/such/folder' does not exist: ")
    assert (result.stderr.count("\n"), result.returncode) == (1, 1)
