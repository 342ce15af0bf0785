# SPDX-License-Identifier: Apache-2.0
"""The prostate bundle's evaluate.json: beside train.json, under each overlay, and with unfit input."""

import json
import re

import numpy as np
import pytest
from configs_of_bundles import OVERLAYS, PROSTATE, load
from PIL import Image

from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_package.standalone_configs import merged_configs
from medti_components.data.phantoms.prostate_phantom import write_prostate_studies

EVALUATE = PROSTATE / "evaluate.json"
CONCEPTS = ("<prostate_mri_negative>", "<prostate_mri_positive>")
SHARED = (
    "concepts",
    "sequences",
    "num_cases",
    "num_validation_cases",
    "seed",
    "dataset_dir",
    "cache_dir",
)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held_out")
    write_prostate_studies(folder, num_negative=8, num_positive=8, seed=1, show_progress=False)
    return folder


@pytest.fixture
def generated_dir(tmp_path):
    """A generating run's folder of eight random pictures a concept."""
    folder = tmp_path / "generated"
    (folder / "images").mkdir(parents=True)
    stream = np.random.default_rng(0)
    lines = []
    for index in range(16):
        file = f"images/{index}.png"
        Image.fromarray(stream.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / file)
        lines.append(json.dumps({"prompt": CONCEPTS[index % 2], "file": file, "seed": index, "scheduler": "A"}))
    (folder / "provenance.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def evaluating(picai, held_out, generated_dir, cache_dir, tmp_path):
    """Keys that make an evaluation a matter of a second: four training studies, eight held-out ones."""
    return {
        "dataset_dir": held_out,
        "classifier_dataset_dir": picai,
        "generated_dir": generated_dir,
        "output_dir": tmp_path / "evaluated",
        "cache_dir": cache_dir,
        "image_size": 32,
        "num_cases": 0,
        "num_validation_cases": 0,
        "num_test_cases": 7,
        "num_classifier_cases": 2,
        "num_classifier_validation_cases": 1,
        "classifier_epochs": 1,
        "compare_real_with_real": False,
        "num_pictures": 2,
        "show_progress": False,
        "device": "cpu",
    }


def test_studies_are_prepared_as_in_training():
    train, evaluate = load(PROSTATE / "train.json"), load(EVALUATE)
    for key in SHARED:
        assert evaluate[key] == train[key], key
    assert merged_configs(Bundle(PROSTATE.parent), [])["evaluate.json"]["preprocessing"] == train["preprocessing"]
    for key in ("reader", "dataset_dir", "num_cases", "num_validation_cases", "seed"):
        assert evaluate["splits"][key] == train["splits"][key], key


def test_embedded_base_has_the_classifier_s_image_size():
    base = PROSTATE.parents[1] / "tiny_latent_diffusion" / "models"
    if not base.is_dir():
        pytest.skip("the embedded base model is not there")
    unet, vae = (json.loads((base / part / "config.json").read_text()) for part in ("unet", "vae"))
    assert unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1) >= load(EVALUATE)["image_size"]


@pytest.mark.parametrize("stack", [[], *([overlay] for overlay in OVERLAYS)], ids=lambda stack: stack and stack[0].stem)
def test_one_epoch_of_evaluation(run_config, evaluating, stack):
    run_config("evaluating", [EVALUATE, *stack], **evaluating)
    metrics = json.loads((evaluating["output_dir"] / "metrics.json").read_text())
    assert set(metrics["auc"]) == {"real", "generated"}
    assert metrics["auc"]["real"]["n"] == {"positive": 7, "negative": 7}
    assert set(metrics["kid"]) == {*CONCEPTS}
    assert metrics["settings"]["made by"] == {"scheduler": ["A"], "seeds": [0, 13]}
    assert metrics["settings"]["seed"] == 0
    assert (evaluating["output_dir"] / "report.html").is_file()


def test_baseline_and_second_reference_stand_beside(run_config, evaluating, generated_dir):
    evaluating |= {"num_cases": 4, "num_test_cases": 4, "compare_real_with_real": True}
    run_config("evaluating", [EVALUATE], **evaluating, baseline_dir=generated_dir)
    metrics = json.loads((evaluating["output_dir"] / "metrics.json").read_text())
    for figures in metrics["kid"].values():
        assert figures["generated"] == figures["initial rows"]
        assert figures["more real"]["n"] == {"images": 4, "reference": 4}
    assert metrics["modality"]["calibration"]["n"] == {"negative": 4, "positive": 4}
    for concept in CONCEPTS:
        assert metrics["modality"]["spots"][concept]["generated"]["n"] == {"images": 4}


def test_same_seed_gives_the_same_figures(run_config, evaluating, tmp_path):
    for name in ("first", "second"):
        run_config("evaluating", [EVALUATE], **{**evaluating, "output_dir": tmp_path / name})
    first, second = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("first", "second"))
    assert (first["auc"], first["kid"]) == (second["auc"], second["kid"])


def test_classifier_learns_from_what_is_left_of_one_data_set(run_config, evaluating):
    evaluating |= {"num_test_cases": 4, "classifier_dataset_dir": None}
    run_config("evaluating", [EVALUATE], **evaluating)
    metrics = json.loads((evaluating["output_dir"] / "metrics.json").read_text())
    assert metrics["num_classifier_training_images"] == 4


def remove_provenance(folder):
    (folder / "provenance.jsonl").unlink()


def truncate_picture(folder):
    path = folder / "images" / "3.png"
    path.write_bytes(path.read_bytes()[:50])


def deepen_picture(folder):
    Image.fromarray(np.full((32, 32), 999, np.uint16)).save(folder / "images" / "3.png")


def enlarge_picture(folder):
    Image.new("RGB", (40, 40)).save(folder / "images" / "3.png")


def keep_few(folder):
    path = folder / "provenance.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:6]))


@pytest.mark.parametrize(
    ("damage", "pattern"),
    [
        (remove_provenance, r"generated_dir must be the output_dir of a generating run, .* does not exist: "),
        (truncate_picture, r"'.*/images/3.png' is missing or not a readable image: generate it again"),
        (deepen_picture, r"'.*/images/3.png' must be grey or RGB with 8 bits a channel, got mode 'I;16': save it"),
        (enlarge_picture, r"'.*/images/3.png' must be 32x32 pixels like the images before it, got 40x40 pixels: keep"),
        (keep_few, r"generated_dir '.*' must hold 7 images of <prostate_mri_negative>, got 3: .*--num_test_cases 3"),
    ],
)
def test_unfit_pictures_end_in_one_line_before_anything_long(line_of, evaluating, generated_dir, damage, pattern):
    damage(generated_dir)
    line = line_of("evaluating", [EVALUATE], **{**evaluating, "classifier_dataset_dir": "no/such/folder"})
    assert re.search("^error: " + pattern, line)


@pytest.mark.parametrize(
    ("overrides", "pattern"),
    [
        (
            {"baseline_dir": "no/such/folder"},
            r"baseline_dir must be the output_dir of a generating run, 'no/such/folder/",
        ),
        (
            {"classifier_dataset_dir": "no/such/folder"},
            r"classifier_dataset_dir 'no/such/folder' does not exist: set --cl",
        ),
        (
            {"num_classifier_cases": 90},
            r"concept .* has \d+ cases, num_classifier_cases asks for 90 .*: lower --num_classif",
        ),
        ({"num_cases": 4}, r"concept .* has 4 cases left for test, 7 are asked for: lower --num_cases"),
        ({"image_size": 64}, r".* must be square and at least 64 pixels wide, got 32x32 pixels: set --image_size 32"),
        ({"generated_dri": "a"}, r"unknown key 'generated_dri': did you mean 'generated_dir'\?"),
        ({"num_test_cases": 3}, r"there must be 4 or more real images of <prostate_mri_negative> .*--num_test_cases$"),
        (
            {"dataset_dir": "no/such"},
            r"dataset_dir 'no/such' does not exist: .* by the run id comparing, on --reference",
        ),
    ],
)
def test_setting_that_does_not_fit(line_of, evaluating, overrides, pattern):
    assert re.search("^error: " + pattern, line_of("evaluating", [EVALUATE], **{**evaluating, **overrides}))


def test_classifier_may_not_learn_from_the_reference(line_of, evaluating, held_out):
    line = line_of("evaluating", [EVALUATE], **{**evaluating, "classifier_dataset_dir": held_out})
    assert re.search(
        r"^error: classifier_dataset_dir must hold other studies than dataset_dir, got \d+ images in both", line
    )


def test_augmentation_blurs_and_noises_but_never_flips():
    names = {entry["_target_"] for entry in load(EVALUATE)["augmentation"]["transforms"]}
    assert {"RandAffined", "RandGaussianSmoothd", "RandGaussianNoised", "RandShiftIntensityd"} <= names
    assert not any("Flip" in name or "Rotate90" in name for name in names)


def test_quality_of_images_is_measured_beside_real_ones_own(run_config, evaluating):
    evaluating |= {"num_cases": 4, "num_test_cases": 4}
    run_config("evaluating", [EVALUATE], **{**evaluating, "parts": ["@quality"]})
    quality = json.loads((evaluating["output_dir"] / "metrics.json").read_text())["quality"]
    assert quality["features"] == "embedded"
    for kind in ("generated", "real"):
        assert quality["all"][kind]["kid"]["n"] == {"images": 8, "reference": 8}
    assert quality["all"]["generated"]["fid"]["value"] > quality["all"]["real"]["fid"]["value"]


def test_folder_of_pictures_stands_in_for_the_data_set(run_config, evaluating, generated_dir, tmp_path):
    for name in CONCEPTS:
        (tmp_path / "real" / name.strip("<>")).mkdir(parents=True)
    stream = np.random.default_rng(1)
    for index in range(12):
        path = tmp_path / "real" / CONCEPTS[index % 2].strip("<>") / f"{index}.png"
        Image.fromarray(stream.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    keys = {**evaluating, "dataset_dir": "no/such", "classifier_dataset_dir": None, "reference_dir": tmp_path / "real"}
    run_config("comparing", [EVALUATE], **keys)
    metrics = json.loads((evaluating["output_dir"] / "metrics.json").read_text())
    assert set(metrics) == {"settings", "versions", "quality", "quality_verdict"}
    assert metrics["quality"][CONCEPTS[0]]["generated"]["kid"]["n"] == {"images": 7, "reference": 6}
    assert (evaluating["output_dir"] / "report.html").is_file()
    assert not (evaluating["output_dir"] / "classifier.safetensors").exists()


@pytest.mark.parametrize(
    ("run_id", "overrides", "pattern"),
    [
        ("comparing", {}, "comparing needs reference_dir, got null: set --reference_dir to a folder of pictures"),
        ("comparing", {"reference_dir": "no/such"}, "reference_dir 'no/such' is no folder: correct --reference_dir"),
        ("comparing", {"features": "vgg"}, "features must be one of .*embedded.*"),
        ("evaluating", {"features": "inception", "feature_weights": "no.pt"}, "feature_weights 'no.pt' does not exist"),
    ],
)
def test_comparison_that_can_t_be_made(line_of, evaluating, run_id, overrides, pattern):
    line = line_of(run_id, [EVALUATE], **{**evaluating, **overrides})
    assert re.search("^error: " + pattern, line)
