# SPDX-License-Identifier: Apache-2.0
"""The chest bundle's evaluate.json: beside train.json, under each overlay, with and without each folder."""

import json
import re
import shutil

import pytest
from configs_of_bundles import CHEST, OVERLAYS, load
from generated_runs import change_lines, write_inpainting, write_interpolation, write_run

from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_package.standalone_configs import merged_configs
from medti_components.data.datasets.radiographs import FINDINGS
from medti_components.data.phantoms.chest_phantom import write_chest_studies

EVALUATE = CHEST / "evaluate.json"
HEALTHY, HEART, EFFUSION, PNEUMONIA = TOKENS = [f"<chest_xray_{finding}>" for finding in FINDINGS]
SHARED = ("concepts", "num_cases", "num_validation_cases", "seed", "dataset_dir", "cache_dir", "dataset_format")


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held_out")
    write_chest_studies(folder, dict.fromkeys(FINDINGS, 4), seed=1, share_of_others=0.75, show_progress=False)
    return folder


@pytest.fixture
def evaluating(chexpert, held_out, cache_dir, tmp_path):
    """Keys that make an evaluation of all four folders a matter of a second."""
    pairs = [f"{HEART} :0.5 AND {EFFUSION} :0.5", f"{EFFUSION} :0.5 AND {PNEUMONIA} :0.5 AND {HEART} :-0.5"]
    write_run(tmp_path / "generated", [token for token in TOKENS for _ in range(3)])
    write_run(tmp_path / "composed", pairs * 2)
    for token in TOKENS[1:]:
        write_interpolation(tmp_path / "interpolated" / token.strip("<>"), HEALTHY, token)
    write_inpainting(tmp_path / "inpainted", [EFFUSION, EFFUSION, HEART])
    return {
        "dataset_dir": held_out,
        "classifier_dataset_dir": chexpert,
        **{f"{name}_dir": tmp_path / name for name in ("generated", "composed", "interpolated", "inpainted")},
        "output_dir": tmp_path / "evaluated",
        "cache_dir": cache_dir,
        "image_size": 32,
        "num_cases": 0,
        "num_validation_cases": 0,
        "num_test_cases": 3,
        "num_several_test_cases": 3,
        "num_classifier_cases": 2,
        "num_classifier_validation_cases": 1,
        "num_several_cases": 1,
        "num_several_validation_cases": 1,
        "classifier_epochs": 1,
        "num_resamples": 50,
        "num_pictures": 2,
        "show_progress": False,
        "device": "cpu",
    }


def metrics_of(evaluating):
    return json.loads((evaluating["output_dir"] / "metrics.json").read_text())


def test_radiographs_are_prepared_as_in_training():
    train, evaluate = load(CHEST / "train.json"), load(EVALUATE)
    assert merged_configs(Bundle(CHEST.parent), [])["evaluate.json"]["preprocessing"] == train["preprocessing"]
    for key in (*SHARED, "views", "single_finding"):
        assert evaluate[key] == train[key], key
    for key in ("reader", "dataset_dir", "num_cases", "num_validation_cases", "seed"):
        assert evaluate["splits"][key] == train["splits"][key], key


@pytest.mark.parametrize("stack", [[], *([overlay] for overlay in OVERLAYS)], ids=lambda stack: stack and stack[0].stem)
def test_all_four_folders_are_judged(run_config, evaluating, stack):
    run_config("evaluating", [EVALUATE, *stack], **evaluating)
    metrics = metrics_of(evaluating)
    for name in ("real", "generated"):
        assert set(metrics["auc"][name]) == set(FINDINGS[1:])
        assert metrics["auc"][name]["pneumonia"]["n"] == {"positive": 3, "negative": 3}
        assert metrics["detection"][name]["1 finding"]["n"] == {"images": 9}
        assert metrics["nothing_seen"][name]["n"] == {"images": 3}
    numbers = {name: figure["n"]["images"] for name, figure in metrics["detection"]["composed"].items()}
    assert numbers == {"cardiomegaly + pleural_effusion": 2, "pleural_effusion + pneumonia": 2, "2 findings": 4}
    several = [name for name in metrics["detection"]["real"] if " + " in name]
    assert sum(metrics["detection"]["real"][name]["n"]["images"] for name in several) == 3
    assert metrics["interpolation"][f"{HEALTHY} to {HEART}"]["n"] == {"rows": 2}
    assert metrics["interpolation"]["all"]["n"] == {"rows": 6}
    painted = metrics["inpainting"]
    assert set(painted) == {"cardiomegaly", "pleural_effusion", "all"}
    assert painted["all"]["largest_change_outside"] == 0
    assert painted["all"]["unchanged_outside"]["value"] == 1
    seen = painted["all"]["seen_inside"]
    assert painted["all"]["num_seen_before"] + (seen["n"]["images"] if seen else 0) == 3
    assert metrics["findings"] == dict(zip(FINDINGS[1:], TOKENS[1:], strict=True))
    assert metrics["num_classifier_training_images"] == 9
    assert metrics["settings"]["made by"]["generated"] == {"scheduler": ["A"], "seeds": [0, 11]}
    assert (evaluating["output_dir"] / "classifier.safetensors").is_file()
    page = (evaluating["output_dir"] / "report.html").read_text()
    assert set(re.findall(r'src="([^"]{0,22})', page)) == {"data:image/png;base64,"}
    assert "Interpolation" in page and "Inpainting" in page
    assert "num_cases is 0" in metrics["modality"]["undetermined"]


def test_left_and_right_are_learned_from_what_the_words_were(run_config, evaluating):
    evaluating |= {"num_cases": 1, "num_test_cases": 2, "parts": ["@modality"]}
    for name in ("composed", "interpolated", "inpainted"):
        del evaluating[f"{name}_dir"]
    run_config("evaluating", [EVALUATE], **evaluating)
    modality = metrics_of(evaluating)["modality"]
    assert set(modality["order"]) == {*TOKENS, "all"} and modality["num_calibration_images"] == 4
    assert modality["order"]["all"]["generated"]["n"] == {"images": 8}


def test_folders_that_are_null_are_left_out(run_config, evaluating):
    for name in ("generated", "interpolated", "inpainted"):
        del evaluating[f"{name}_dir"]
    run_config("evaluating", [EVALUATE], **evaluating)
    metrics = metrics_of(evaluating)
    assert set(metrics["auc"]) == {"real"} and set(metrics["detection"]) == {"real", "composed"}
    assert "interpolation" not in metrics and "inpainting" not in metrics


def test_classifier_learns_from_what_is_left_of_one_data_set(run_config, evaluating):
    evaluating |= {"num_test_cases": 1, "num_several_test_cases": 2}
    del evaluating["classifier_dataset_dir"], evaluating["generated_dir"]
    run_config("evaluating", [EVALUATE], **evaluating)
    metrics = metrics_of(evaluating)
    assert metrics["num_classifier_training_images"] == 9
    assert metrics["auc"]["real"]["pneumonia"]["n"] == {"positive": 1, "negative": 1}


def test_images_with_several_findings_may_be_done_without(run_config, evaluating):
    evaluating |= dict.fromkeys(("num_several_cases", "num_several_validation_cases", "num_several_test_cases"), 0)
    run_config("evaluating", [EVALUATE], **evaluating)
    metrics = metrics_of(evaluating)
    assert metrics["num_classifier_training_images"] == 8
    assert set(metrics["detection"]["real"]) == {*FINDINGS[1:], "1 finding"}


def test_same_seed_gives_the_same_figures(run_config, evaluating, tmp_path):
    for name in ("first", "second"):
        run_config("evaluating", [EVALUATE], **{**evaluating, "output_dir": tmp_path / name})
    first, second = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("first", "second"))
    assert first == second


def test_some_findings_alone_are_judged(run_config, evaluating):
    del evaluating["composed_dir"], evaluating["interpolated_dir"]
    evaluating["concepts"] = [HEALTHY, EFFUSION]
    evaluating |= dict.fromkeys(("num_several_cases", "num_several_validation_cases", "num_several_test_cases"), 0)
    write_run(evaluating["generated_dir"], [HEALTHY, EFFUSION] * 3)
    change_lines(evaluating["inpainted_dir"], lambda number, entry: entry.update(prompt=EFFUSION))
    run_config("evaluating", [EVALUATE], **evaluating)
    assert set(metrics_of(evaluating)["auc"]["generated"]) == {"pleural_effusion"}


def unlink(name):
    return lambda folder: (folder / name).unlink()


def prompt(text):
    return lambda folder: change_lines(folder, lambda number, entry: entry.update(prompt=text))


def no_lines(folder):
    (folder / "provenance.jsonl").write_text("")


def remove_weight(folder):
    path = folder / HEART.strip("<>") / "provenance.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def without(key):
    return lambda folder: change_lines(folder, lambda number, entry: entry.pop(key))


@pytest.mark.parametrize(
    ("name", "damage", "pattern"),
    [
        ("generated", unlink("provenance.jsonl"), r"generated_dir must be the output_dir of a generating run, '"),
        ("composed", shutil.rmtree, r"composed_dir must be the output_dir of a generating run, '.*' does not exist: "),
        ("interpolated", shutil.rmtree, r"interpolated_dir must be the output_dir of an interpolating run, '"),
        ("inpainted", shutil.rmtree, r"inpainted_dir must be the output_dir of an inpainting run, '.*' does not exist"),
        ("composed", no_lines, r"composed_dir '.*' must hold at least one image, got none: generate some, or leave it"),
        ("generated", no_lines, r"generated_dir '.*' must hold 3 images of <chest_xray_no_finding>, got 0: "),
        (
            "composed",
            prompt("<chest_xray_edema> AND <chest_xray_pneumonia>"),
            r"'.*' line 1: unknown concept '<chest_xray_edema>', known are <chest_xray_no_finding>, .*--concepts$",
        ),
        ("composed", prompt(HEALTHY), r"'.*' line 1: prompt must ask for at least one of <chest_xray_cardiomegaly>, "),
        ("composed", prompt("<a> :x"), r"'.*' line 1: prompt '<a> :x' can't be read, a weight must be a decimal "),
        ("interpolated", remove_weight, r"interpolated_dir '.*' must hold the same two or more weights of each seed, "),
        ("inpainted", prompt(HEALTHY), r"'.*' line 1: prompt must ask for at least one of <chest_xray_cardiomegaly>, "),
        ("inpainted", unlink("source_0.png"), r"'.*' line 1: '.*source_0.png', which was painted into, does not exist"),
        ("inpainted", unlink("images/0.png"), r"'.*images/0.png' is missing or not a readable image: paint it again"),
        ("inpainted", without("soft_mask_file"), r"'.*' line 1: must have 'soft_mask_file' of one picture, as an inp"),
    ],
)
def test_unfit_folders_end_in_one_line_before_anything_long(line_of, evaluating, name, damage, pattern):
    damage(evaluating[f"{name}_dir"])
    line = line_of("evaluating", [EVALUATE], **{**evaluating, "classifier_dataset_dir": "no/such/folder"})
    assert re.search("^error: " + pattern, line)


@pytest.mark.parametrize(
    ("overrides", "pattern"),
    [
        ({"classifier_dataset_dir": "no"}, r"classifier_dataset_dir 'no' does not exist: set --classifier_dataset_dir"),
        ({"num_classifier_cases": 90}, r"concept .* has \d+ cases, num_classifier_cases asks for 90 .*lower --num_cla"),
        ({"num_several_cases": 90}, r"concept 'several findings' has \d+ cases.*, num_several_cases asks for 90 .*: l"),
        ({"num_several_test_cases": 90}, r"concept 'several findings' has 4 cases left for test, 90 .*num_several_tes"),
        ({"num_test_cases": 90, "generated_dir": "$None"}, r"concept .* has 4 cases left for test, 90 are asked for: "),
        ({"concepts": TOKENS[1:]}, r"concepts must hold one that ends in 'no_finding>' and at least one of a finding"),
        ({"dataset_format": "mimic"}, r"dataset_format must be one of chexpert, nih, got 'mimic': correct"),
        ({"image_size": 64}, r".* must be square and at least 64 pixels wide, got 32x32 pixels: set --image_size 32"),
        ({"generated_dri": "a"}, r"unknown key 'generated_dri': did you mean 'generated_dir'\?"),
    ],
)
def test_setting_that_does_not_fit(line_of, evaluating, overrides, pattern):
    assert re.search("^error: " + pattern, line_of("evaluating", [EVALUATE], **{**evaluating, **overrides}))


def test_nothing_to_evaluate(line_of, evaluating):
    keys = {key: value for key, value in evaluating.items() if not key.endswith("d_dir")}
    line = line_of("evaluating", [EVALUATE], **keys)
    assert line.startswith("error: there is nothing to evaluate: set --generated_dir, --composed_dir, --interpolated_d")


def test_classifier_may_not_learn_from_the_reference(line_of, evaluating, held_out):
    line = line_of("evaluating", [EVALUATE], **{**evaluating, "classifier_dataset_dir": held_out})
    assert re.search("^error: classifier_dataset_dir must hold other studies than dataset_dir, got [0-9]+ images", line)
