# SPDX-License-Identifier: Apache-2.0
"""An evaluation's last word, whether its images and words may be shared, and what packaging makes of it."""

import json
from pathlib import Path

import pytest
from configs_of_bundles import PROSTATE, load
from generated_runs import write_run
from monai.bundle import ConfigParser
from PIL import Image

from medti_components.__main__ import main
from medti_components.data.phantoms.prostate_phantom import write_prostate_studies
from medti_components.transforms.eight_bit_picture import to_pixels

TRAIN, EVALUATE = PROSTATE / "train.json", PROSTATE / "evaluate.json"
CONCEPTS = ("<prostate_mri_negative>", "<prostate_mri_positive>")
UNTESTED = "membership in the training of the words not tested, as embeddings is null"


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """As many studies as tell which images are too near: six of each word to learn from, five held out."""
    folder = tmp_path_factory.mktemp("studies")
    write_prostate_studies(folder, num_negative=11, num_positive=11, seed=2, show_progress=False)
    return folder


def prepared(keys, name):
    """Images of the evaluation's data set ``name``, by word."""
    parser = ConfigParser({**load(EVALUATE), "bundle_root": str(PROSTATE.parent)})
    parser.update({key: str(value) if isinstance(value, Path) else value for key, value in keys.items()})
    items = list(parser.get_parsed_content(f"{name}::dataset"))
    return {concept: [item["image"] for item in items if item["concept"] == concept] for concept in CONCEPTS}


@pytest.fixture
def evaluating(picai, studies, cache_dir, tmp_path):
    """Keys of an evaluation of a second; what passes for generated are slices of patients of another folder."""
    keys = {
        "dataset_dir": studies,
        "classifier_dataset_dir": picai,
        "generated_dir": tmp_path / "generated",
        "output_dir": tmp_path / "evaluated",
        "cache_dir": cache_dir,
        "image_size": 32,
        "num_cases": 6,
        "num_validation_cases": 0,
        "num_test_cases": 5,
        "num_classifier_cases": 2,
        "num_classifier_validation_cases": 1,
        "classifier_epochs": 1,
        "num_resamples": 50,
        "num_membership_draws": 2,
        "parts": ["@copies", "@membership"],
        "num_pictures": 2,
        "show_progress": False,
        "device": "cpu",
    }
    others = prepared({**keys, "dataset_dir": picai, "num_cases": 5}, "learned_from")
    write_run(keys["generated_dir"], [concept for concept in CONCEPTS for _ in range(5)])
    for number, image in enumerate([image for concept in CONCEPTS for image in others[concept]]):
        Image.fromarray(to_pixels(image)).save(keys["generated_dir"] / "images" / f"{number}.png")
    return keys


@pytest.fixture
def planted(evaluating):
    """The same with two training images, one of them mirrored, among the generated ones."""
    first, second = (images[0] for images in prepared(evaluating, "learned_from").values())
    for number, image in enumerate((first, second.flip(-1))):
        Image.fromarray(to_pixels(image)).save(evaluating["generated_dir"] / "images" / f"{5 * number + 2}.png")
    return evaluating


@pytest.fixture
def words(run_config, training):
    """The words after a step of training."""
    run_config("training", [TRAIN], **training)
    return training["output_dir"] / "embeddings"


@pytest.fixture
def verdict_of(run_config):
    """Evaluate, and return all metrics; the verdict stands in the report as in them."""

    def verdict_of(keys):
        run_config("evaluating", [EVALUATE], **keys)
        metrics = json.loads((keys["output_dir"] / "metrics.json").read_text())
        page = (keys["output_dir"] / "report.html").read_text()
        state = "good" if metrics["verdict"]["is_safe"] else "bad"
        shown = metrics["verdict"]["verdict"].replace("<", "&lt;").replace(">", "&gt;")
        assert f'<p class="verdict {state}">Verdict: {shown}</p>' in page
        return metrics

    return verdict_of


def test_images_of_others_are_safe_to_share(verdict_of, evaluating):
    del evaluating["parts"]  # all of them
    metrics = verdict_of(evaluating)
    assert {"quality", "modality"} <= set(metrics)
    assert metrics["copies"]["share"]["generated"]["value"] == 0
    assert metrics["verdict"]["verdict"] == f"safe to share, as far as tested ({UNTESTED})"
    limits = {key: load(EVALUATE)[key] for key in ("copy_false_positive_rate", "max_copy_share")}
    assert metrics["verdict"]["checks"]["copies"]["limits"] == limits


def test_planted_training_images_are_not(verdict_of, planted, tmp_path, capsys):
    metrics = verdict_of(planted)
    assert sorted({copy["file"].rpartition("/")[2] for copy in metrics["copies"]["copies"]}) == ["2.png", "7.png"]
    found = "2 of 10 generated images are copies of training images"
    assert metrics["verdict"]["verdict"] == f"not safe to share: {found} ({UNTESTED})"
    assert metrics["verdict"]["checks"]["copies"]["outcome"] == "failed"

    arguments = {"bundle": PROSTATE.parent, "output_dir": tmp_path / "out", "version": "0.1.0"}
    arguments["evaluation"] = planted["output_dir"]
    assert main(["package", *(str(text) for key, value in arguments.items() for text in (f"--{key}", value))]) == 1
    assert f"metrics.json' says 'not safe to share: {found}" in capsys.readouterr().err


def test_more_copies_may_be_allowed(verdict_of, planted):
    assert verdict_of({**planted, "max_copy_share": 0.2})["verdict"]["is_safe"]


def test_words_are_asked_for_their_training_images(verdict_of, evaluating, words, micro_base):
    metrics = verdict_of({**evaluating, "embeddings": words, "base_model": micro_base})
    for concept in CONCEPTS:
        for score in ("loss", "gain"):
            assert metrics["membership"][concept][score]["n"] == {"training": 6, "held-out": 5}
    assert metrics["verdict"]["checks"]["membership"]["outcome"] == "passed"
    assert metrics["verdict"]["verdict"] == "safe to share"


def test_a_check_that_is_required_must_be_made(verdict_of, evaluating):
    metrics = verdict_of({**evaluating, "required_checks": ["copies", "membership"]})
    assert metrics["verdict"]["verdict"] == f"not safe to share: {UNTESTED}"


def test_what_was_measured_is_kept_when_a_word_is_missing(line_of, evaluating, words, micro_base):
    (words / "prostate_mri_positive.safetensors").unlink()
    line = line_of("evaluating", [EVALUATE], **{**evaluating, "embeddings": words, "base_model": micro_base})
    assert line.startswith("error: embeddings must hold a file of '<prostate_mri_positive>', got <prostate_mri_neg")
    metrics = json.loads((evaluating["output_dir"] / "metrics.json").read_text())
    assert {"auc", "kid", "copies"} <= set(metrics)
    assert "<h2>Copies</h2>" in (evaluating["output_dir"] / "report.html").read_text()
