# SPDX-License-Identifier: Apache-2.0
"""The histopathology bundle's evaluate.json: beside train.json, under each overlay, and with unfit input."""

import base64
import io
import json
import os
import re
from pathlib import Path

import pytest
from configs_of_bundles import HISTOPATHOLOGY, OVERLAYS, load
from generated_runs import write_run
from PIL import Image

from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_package.standalone_configs import merged_configs
from medti_components.data.datasets.patch_camelyon_files import SPLIT_FILES, PatchCamelyonFiles

EVALUATE = HISTOPATHOLOGY / "evaluate.json"
CONCEPTS = ["<histopathology_normal>", "<histopathology_tumor>"]
REAL = Path(os.environ.get("MEDTI_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture
def evaluating(patches, cache_dir, tmp_path):
    """Keys that make an evaluation a matter of a second: four training patches, ten held-out ones."""
    return {
        "dataset_dir": patches,
        "generated_dir": write_run(tmp_path / "generated", CONCEPTS * 5),
        "output_dir": tmp_path / "evaluated",
        "cache_dir": cache_dir,
        "image_size": 32,
        "num_cases": 4,
        "num_validation_cases": 2,
        "num_test_cases": 5,
        "num_classifier_cases": 4,
        "num_classifier_validation_cases": 2,
        "classifier_epochs": 1,
        "num_resamples": 50,
        "num_pictures": 2,
        "show_progress": False,
        "device": "cpu",
    }


def metrics_of(evaluating):
    return json.loads((evaluating["output_dir"] / "metrics.json").read_text())


def test_patches_are_prepared_and_drawn_as_in_training():
    train, evaluate = load(HISTOPATHOLOGY / "train.json"), load(EVALUATE)
    assert merged_configs(Bundle(HISTOPATHOLOGY.parent), [])["evaluate.json"]["preprocessing"] == train["preprocessing"]
    for key in ("concepts", "num_cases", "num_validation_cases", "seed", "dataset_dir", "cache_dir"):
        assert evaluate[key] == train[key], key
    for key in ("reader", "dataset_dir", "num_cases", "num_validation_cases", "seed"):
        assert evaluate["splits"][key] == train["splits"][key], key


@pytest.mark.parametrize("stack", [[], *([overlay] for overlay in OVERLAYS)], ids=lambda stack: stack and stack[0].stem)
def test_one_epoch_of_evaluation(run_config, evaluating, stack):
    run_config("evaluating", [EVALUATE, *stack], **evaluating)
    metrics = metrics_of(evaluating)
    assert set(metrics["auc"]) == {"real", "generated", "more real"}
    assert metrics["auc"]["generated"]["n"] == {"positive": 5, "negative": 5}
    assert set(metrics["kid"]) == {*CONCEPTS}
    assert set(metrics["modality"]) == {*CONCEPTS}
    assert metrics["modality"][CONCEPTS[0]]["eosin, mean"]["generated"]["distance"]["n"] == {"generated": 5, "real": 5}
    assert metrics["num_classifier_training_images"] == 8
    assert metrics["settings"]["made by"] == {"scheduler": ["A"], "seeds": [0, 9]}


def test_report_shows_the_patches_in_colour(run_config, evaluating):
    run_config("evaluating", [EVALUATE], **evaluating)
    page = (evaluating["output_dir"] / "report.html").read_text()
    assert "Rows:" not in page
    first = re.findall('base64,([^"]*)', page)[0]
    with Image.open(io.BytesIO(base64.b64decode(first))) as picture:
        assert picture.mode == "RGB"


@pytest.mark.parametrize(
    ("overrides", "pattern"),
    [
        ({"num_classifier_cases": 9}, r"'.*train_x.h5' has 4 patches .* beyond the first 4, num_classifier_cases asks"),
        (
            {"classifier_dataset_dir": "no/such"},
            r"classifier_dataset_dir 'no/such' does not exist: set --class",
        ),
        ({"num_test_cases": 6}, r"generated_dir '.*' must hold 6 images of <histopathology_normal>, got 5: .*cases 5"),
        ({"image_size": 64}, r".* must be square and at least 64 pixels wide, got 32x32 pixels: set --image_size 32"),
        ({"generated_dri": "a"}, r"unknown key 'generated_dri': did you mean 'generated_dir'\?"),
    ],
)
def test_setting_that_does_not_fit(line_of, evaluating, overrides, pattern):
    assert re.search("^error: " + pattern, line_of("evaluating", [EVALUATE], **{**evaluating, **overrides}))


@pytest.mark.skipif(not (REAL / "histopathology").is_dir(), reason="real patches are not here")
def test_real_patches_run_through(run_config, evaluating, tmp_path):
    for part in ("x", "y"):
        train, valid = (
            getattr(PatchCamelyonFiles.of(REAL / "histopathology", split), part) for split in SPLIT_FILES[:2]
        )
        for path in (train, valid):
            (tmp_path / path.name).symlink_to(path)
        (tmp_path / valid.name.replace("valid", "test")).symlink_to(valid)  # there is no third pair
    run_config("evaluating", [EVALUATE], **{**evaluating, "dataset_dir": tmp_path})
    assert metrics_of(evaluating)["auc"]["real"]["n"] == {"positive": 5, "negative": 5}
