# SPDX-License-Identifier: Apache-2.0
"""The classification bundle: alone and under each overlay, resumed, and on other modalities."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from configs_of_bundles import CHEST, CLASSIFICATION, HISTOPATHOLOGY, OVERLAYS, PROSTATE, REPOSITORY, load
from generated_runs import write_run
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image
from safetensors.torch import load_file

from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_package.standalone_configs import merged_configs
from medti_components.data.prepared_images import transform_fingerprint

TRAIN, EVALUATE, INFERENCE = ([CLASSIFICATION / f"{name}.json"] for name in ("train", "evaluate", "inference"))
STACKS = [[], *([overlay] for overlay in OVERLAYS)]
EMBEDDED = [REPOSITORY / "configs" / "embedded.json"]
NEGATIVE, POSITIVE = "<prostate_mri_negative>", "<prostate_mri_positive>"
IMAGES = ("architecture", "classifier_image_size", "dataset_format", "concepts", "sequences", "field_of_view_mm")
SIZE = 32


def stack_name(stack):
    return stack[0].stem if stack else "alone"


def rows(path):
    with open(path, newline="") as file:
        return [*csv.DictReader(file)]


@pytest.mark.parametrize("stack", STACKS, ids=stack_name)
def test_one_batch_of_training_then_evaluation_then_inference(
    run_config, classifying_training, classifying, classifier_splits, synthetic_pictures, stack, tmp_path
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

    classifying |= {"classifier": output / "classifier.safetensors"}
    run_config(
        "evaluating", [*EVALUATE, *stack], **{**classifying, **classifier_splits, "output_dir": tmp_path / "evaluated"}
    )
    metrics = json.loads((tmp_path / "evaluated" / "metrics.json").read_text())
    assert metrics["auc"]["n"] == {"positive": 2, "negative": 2}
    assert metrics["auc"]["confidence"] == 0.95
    assert sum(map(sum, metrics["confusion"]["counts"])) == 4
    assert metrics["confusion"]["threshold"] == 0.5
    assert metrics["classifier"]["num_synthetic"] == 4
    assert (tmp_path / "evaluated" / "report.html").is_file()

    run_config(
        "classifying",
        [*INFERENCE, *stack],
        **{**classifying, "dataset_dir": synthetic_pictures, "output_dir": tmp_path / "said"},
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


def input_of(dataset_format):
    """The section ``input`` of inference.json, in place of one that looks into a folder."""
    return {"_target_": "types.SimpleNamespace", "format": dataset_format}


@pytest.mark.parametrize("is_packaged", [False, True], ids=["source", "packaged"])
@pytest.mark.parametrize(
    ("dataset_format", "configs"), [("picai", PROSTATE), ("chexpert", CHEST), ("nih", CHEST), ("pcam", HISTOPATHOLOGY)]
)
def test_real_images_are_prepared_as_for_the_words(dataset_format, configs, is_packaged):
    words = ConfigParser({**load(configs / "train.json"), "image_size": 196}).get_parsed_content("preprocessing")
    bundle = Bundle(CLASSIFICATION.parent)
    given = {"dataset_format": dataset_format, "bundle_root": str(bundle.folder), "input": input_of(dataset_format)}
    for name, config in (merged_configs(bundle, []) if is_packaged else bundle.configs).items():
        own = ConfigParser({**config, **given}).get_parsed_content("preprocessing")
        assert transform_fingerprint(own) == transform_fingerprint(words), name


def test_pictures_are_images_already(tmp_path):
    Image.fromarray(np.zeros((392, 392, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    case = {"image": str(tmp_path / "a.png"), "concept": "", "label": 0, "patient_id": "", "study_id": "a.png"}
    parser = ConfigParser({**load(INFERENCE[0]), "input": input_of("pictures"), "bundle_root": "not looked at"})
    prepared = parser.get_parsed_content("preprocessing")(case)
    assert prepared["image"].shape == (3, 196, 196) and prepared["image"].max() == -1
    assert prepared["study_id"] == "a.png"


def test_bundle_exposes_what_other_applications_look_for(
    classifying_training, classifying, trained_classifier, synthetic_pictures
):
    for kind, path, own in (
        ("train", TRAIN[0], classifying_training),
        (
            "inference",
            INFERENCE[0],
            {**classifying, "classifier": trained_classifier, "dataset_dir": synthetic_pictures},
        ),
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


def test_training_goes_on_from_another_classifier(run_config, line_of, classifying_training, trained_classifier):
    later = {**classifying_training, "initial_classifier": trained_classifier, "num_batches": 0}
    run_config("training", TRAIN, **{**later, "pretrained_model": "no/such-model"})
    first, second = load_file(trained_classifier), load_file(later["output_dir"] / "classifier.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    line = line_of("training", [*TRAIN, *EMBEDDED], **later)
    assert re.search(r"^error: architecture is 'small', but the classifier '.*' was trained with 'resnet'", line)


@pytest.mark.parametrize("level", ["none", "light", "medium"])
def test_augmentation_levels(run_config, classifying_training, level):
    run_config("training", TRAIN, **{**classifying_training, "num_synthetic": 0, "augmentation_level": level})


def test_radiographs_and_patches_train_by_the_same_config(
    run_config, classifying_training, chexpert, patches, synthetic_pictures, tmp_path
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


def test_studies_without_labels_are_classified(run_config, classifying, trained_classifier, picai, tmp_path):
    classifying |= {"classifier": trained_classifier}
    run_config("classifying", INFERENCE, **classifying)
    said = rows(tmp_path / "out" / "probabilities.csv")
    assert len(said) == 10
    patient = said[0]["patient_id"]
    without_masks = shutil.copytree(picai / "images" / patient, tmp_path / "one patient" / patient)
    run_config("run", INFERENCE, **{**classifying, "dataset_dir": without_masks, "output_dir": tmp_path / "alone"})
    alone = rows(tmp_path / "alone" / "probabilities.csv")
    assert [(row["patient_id"], row["study_id"]) for row in alone] == [(patient, said[0]["study_id"])]
