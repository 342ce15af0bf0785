# SPDX-License-Identifier: Apache-2.0
"""An evaluation's verdicts, whether its images are good and its words may be shared, and what packaging makes of it."""

import json
import re
from pathlib import Path

import pytest
from configs_of_bundles import PROSTATE, load
from generated_runs import write_run
from monai.bundle import ConfigParser
from PIL import Image

from medti_components.__main__ import main
from medti_components.data.phantoms.prostate_phantom import write_prostate_studies
from medti_components.networks.embedding_files.embedding_file import load_embedding
from medti_components.transforms.eight_bit_picture import to_pixels

TRAIN, EVALUATE = PROSTATE / "train.json", PROSTATE / "evaluate.json"
CONCEPTS = ("<prostate_mri_negative>", "<prostate_mri_positive>")
LENIENT = {"max_possible_copy_share": 0.31, "max_membership_auc": 1.0}  # 0 of 10: the interval's upper end is 0.308
NUM_CASES, NO_VALIDATION = 6, {"num_validation_cases": 0}


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """As many studies as tell which images are too near: six of each word to learn from, five held out."""
    folder = tmp_path_factory.mktemp("studies")
    write_prostate_studies(folder, num_negative=11, num_positive=11, seed=2, show_progress=False)
    return folder


def prepared(keys, name):
    """Images of the evaluation's data set ``name``, by word."""
    parser = ConfigParser({**load(EVALUATE), "bundle_root": str(PROSTATE.parent)})
    texts = {key: str(value) if isinstance(value, Path) else value for key, value in keys.items()}
    parser.update({**texts, "embeddings": None})
    items = list(parser.get_parsed_content(f"{name}::dataset"))
    return {concept: [item["image"] for item in items if item["concept"] == concept] for concept in CONCEPTS}


@pytest.fixture
def words(run_config, training, studies):
    """The words after a step of training on six cases each."""
    run_config("training", [TRAIN], **{**training, "dataset_dir": studies, "num_cases": NUM_CASES, **NO_VALIDATION})
    return training["output_dir"] / "embeddings"


def hashes(words):
    return {word.token: word.sha256 for word in map(load_embedding, sorted(words.iterdir()))}


@pytest.fixture
def evaluating(picai, studies, words, micro_base, cache_dir, tmp_path):
    """Keys of an evaluation of a second; what passes for generated are slices of patients of another folder."""
    keys = {
        "dataset_dir": studies,
        "classifier_dataset_dir": picai,
        "generated_dir": tmp_path / "generated",
        "output_dir": tmp_path / "evaluated",
        "cache_dir": cache_dir,
        "embeddings": words,
        "base_model": micro_base,
        "image_size": 32,
        "num_cases": NUM_CASES,
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
    prompts = [concept for concept in CONCEPTS for _ in range(5)]
    write_run(keys["generated_dir"], prompts, embedding_sha256=hashes(words))
    others = prepared({**keys, "dataset_dir": picai, "num_cases": 0}, "reference")
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
def verdict_of(run_config):
    """Evaluate, and return all metrics; the verdicts stand in the report as in them."""

    def verdict_of(keys):
        run_config("evaluating", [EVALUATE], **keys)
        metrics = json.loads((keys["output_dir"] / "metrics.json").read_text())
        page = (keys["output_dir"] / "report.html").read_text()
        states = {"safe under the thresholds": "good", "good under the thresholds": "good", "not shown": "open"}
        for about, key in (("sharing", "verdict"), ("quality", "quality_verdict")):
            state = states.get(metrics[key]["verdict"], "bad")
            shown = metrics[key]["statement"].replace("<", "&lt;").replace(">", "&gt;")
            assert f'<p class="verdict {state}">Verdict on {about}: {shown}</p>' in page
        return metrics

    return verdict_of


def test_images_of_others_are_safe_under_thresholds_that_ten_images_can_show(verdict_of, evaluating, words):
    metrics = verdict_of({**evaluating, **LENIENT})
    assert metrics["copies"]["share"]["generated"]["value"] == 0
    assert metrics["verdict"]["verdict"] == "safe under the thresholds"
    assert metrics["verdict"]["embedding_sha256"] == hashes(words)
    limits = metrics["verdict"]["checks"]["copies"]["limits"]
    assert limits == {"copy_false_positive_rate": 0.008, "max_copy_share": 0.0, "max_possible_copy_share": 0.31}
    for concept in CONCEPTS:
        for score in ("loss", "gain"):
            assert metrics["membership"][concept][score]["n"] == {"training": 6, "held-out": 5}


def test_ten_images_show_nothing_under_the_config_s_own_thresholds(verdict_of, evaluating):
    del evaluating["parts"]  # all of them
    metrics = verdict_of(evaluating)
    assert metrics["verdict"]["verdict"] == metrics["quality_verdict"]["verdict"] == "not shown"
    statement = metrics["verdict"]["statement"]
    found = (
        "no copy of a training image among 10 generated images, but up to 30.8% may be: max_possible_copy_share is 2.0%"
    )
    assert statement.startswith(f"not shown: {found}; <prostate_mri_")
    assert " may tell its training images: AUC " in statement
    assert metrics["quality_verdict"]["statement"].startswith("not shown: too few images of <prostate_mri_negative>")


def test_planted_training_images_are_not_safe(verdict_of, planted, words, tmp_path, capsys):
    metrics = verdict_of({**planted, **LENIENT})
    assert sorted({copy["file"].rpartition("/")[2] for copy in metrics["copies"]["copies"]}) == ["2.png", "7.png"]
    found = "2 of 10 generated images are copies of training images"
    assert metrics["verdict"]["statement"] == f"not safe: {found}"
    assert metrics["verdict"]["checks"]["copies"]["outcome"] == "failed"

    arguments = {"bundle": PROSTATE.parent, "output_dir": tmp_path / "out", "version": "0.1.0", "embeddings": words}
    arguments["evaluation"] = planted["output_dir"]
    assert main(["package", *(str(text) for key, value in arguments.items() for text in (f"--{key}", value))]) == 1
    assert f"metrics.json' says 'not safe: {found}': share other words" in capsys.readouterr().err


def test_a_split_that_is_not_the_training_s_is_an_error(line_of, evaluating):
    for other in ({"num_cases": 3}, {"seed": 1}, {"num_validation_cases": 1}):
        line = line_of("evaluating", [EVALUATE], **{**evaluating, "num_test_cases": 3, **other})
        pattern = r"error: '.*negative.safetensors' was learned from 6 cases, of which [3-6] are among the [36] that"
        assert re.match(pattern, line)
        assert "set --num_cases 6 --num_validation_cases 0 --seed 0, and --dataset_dir to what" in line
        assert not (evaluating["output_dir"] / "metrics.json").exists()
