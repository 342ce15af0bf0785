# SPDX-License-Identifier: Apache-2.0
"""What a user of the classification bundle sees when something is wrong: one line that says what, and what to do."""

import os
import re
import sys
from pathlib import Path

import forked_commands
import pytest
from configs_of_bundles import CLASSIFICATION, REPOSITORY, load
from generated_runs import write_run
from safetensors.torch import load_file, save_file

TRAIN, EVALUATE, INFERENCE = ([CLASSIFICATION / f"{name}.json"] for name in ("train", "evaluate", "inference"))
EMBEDDED = [REPOSITORY / "configs" / "embedded.json"]
NEGATIVE, POSITIVE = "<prostate_mri_negative>", "<prostate_mri_positive>"


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
            r"'.*provenance.jsonl' line 1: prompt must ask for exactly one of <prostate_mri_negative>, .*, got '<chest",
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


def test_class_without_a_case(line_of, classifying_training, classifier_splits, trained_classifier, damaged_picai):
    marksheet = damaged_picai / "picai_labels" / "clinical_information" / "marksheet.csv"
    lines = marksheet.read_text().splitlines()
    marksheet.unlink()
    marksheet.write_text("\n".join(line for line in lines if not line.startswith("15")) + "\n")
    keys = {**classifying_training, "dataset_dir": damaged_picai}
    evaluating = {**keys, **classifier_splits, "classifier": trained_classifier}
    trained = [key for key in evaluating if key in load(EVALUATE[0])]
    for line in (
        line_of("training", TRAIN, **keys),
        line_of("evaluating", EVALUATE, **{key: evaluating[key] for key in trained}),
    ):
        assert re.search(r"^error: concept '<prostate_mri_positive>' has no cases in .*: add studies", line)


def test_patient_in_two_splits(line_of, classifying, classifier_splits, trained_classifier):
    overrides = {
        **classifying,
        **classifier_splits,
        "classifier": trained_classifier,
        "num_training_cases": 0,
        "num_test_cases": 4,
    }
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
def test_file_that_is_no_classifier(line_of, classifying, trained_classifier, damage, pattern):
    damage(trained_classifier)
    line = line_of("classifying", INFERENCE, **{**classifying, "classifier": trained_classifier})
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
def test_inference_that_does_not_fit(line_of, classifying, trained_classifier, overrides, stack, pattern):
    line = line_of(
        "classifying", [*INFERENCE, *stack], **{**classifying, "classifier": trained_classifier, **overrides}
    )
    assert re.search("^error: " + pattern, line)


def test_threshold_must_be_a_probability(line_of, classifying, classifier_splits, trained_classifier):
    line = line_of(
        "evaluating",
        EVALUATE,
        **{**classifying, **classifier_splits, "classifier": trained_classifier, "detection_threshold": 1.5},
    )
    assert line == "error: detection_threshold must be at most 1, got 1.5: correct --detection_threshold"


def test_mistake_on_the_command_line_is_one_line_and_status_1(tmp_path):
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(INFERENCE[0])]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    result = forked_commands.run([*command, "--dataset_dir", "no/such/folder"], cwd=tmp_path, env=environment)
    assert result.stderr.startswith("error: dataset_dir 'no/such/folder' does not exist: ")
    assert (result.stderr.count("\n"), result.returncode) == (1, 1)
