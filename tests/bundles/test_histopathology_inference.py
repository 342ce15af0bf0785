# SPDX-License-Identifier: Apache-2.0
"""The histopathology bundle generates, interpolates and inpaints by the chest bundle's graph, and writes patches."""

import json
import re

import numpy as np
import pytest
from configs_of_bundles import CHEST, HISTOPATHOLOGY, load
from PIL import Image

from medti_components.data.datasets.patch_camelyon_files import PatchCamelyonFiles, open_patches
from medti_components.networks.concept_embedding import ConceptEmbedding
from medti_components.networks.embedding_files.embedding_file import concept_name, save_embedding
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

INFERENCE = [HISTOPATHOLOGY / "inference.json"]
NORMAL, TUMOR = TOKENS = ["<histopathology_normal>", "<histopathology_tumor>"]


@pytest.fixture(scope="module")
def embeddings(micro_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings")
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base))
    for token in TOKENS:
        rows = ConceptEmbedding.initialized(token, 4, model, seed=0).rows
        metadata = {"base_model": "micro", "base_model_sha256": model.fingerprint}
        save_embedding(folder / f"{concept_name(token)}.safetensors", token, rows, metadata)
    return folder


@pytest.fixture
def inference(embeddings, micro_base, tmp_path):
    return {
        "embeddings": embeddings,
        "output_dir": tmp_path / "out",
        "base_model": micro_base,
        "num_images": 2,
        "num_inference_steps": 2,
        "batch_size": 4,
        "show_progress": False,
        "device": "cpu",
    }


def lines(folder):
    return [json.loads(line) for line in (folder / "provenance.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_graph_is_the_chest_bundles_but_for_the_patches():
    patches, chest = load(HISTOPATHOLOGY / "inference.json"), load(CHEST / "inference.json")
    assert patches.keys() - chest.keys() == {"output_format", "patch_saver"}
    assert chest.keys() <= patches.keys()
    patches["handlers"].remove("@patch_saver")
    for run_id in ("generating", "interpolating", "inpainting"):
        assert "@patch_saver.check" in patches[run_id].pop(0)
    assert {key for key in chest if chest[key] != patches[key]} == {"concepts", "learned_words"}


def test_generated_sets_are_written_back_as_patches(run_config, inference):
    run_config("generating", INFERENCE, **inference, output_format="pcam")
    folder = inference["output_dir"]
    files = PatchCamelyonFiles.found(folder, "train")
    assert files.labels().tolist() == [0, 0, 1, 1] == [TOKENS.index(line["prompt"]) for line in lines(folder)]
    with open_patches(files.x) as stored, Image.open(folder / lines(folder)[3]["file"]) as picture:
        expected = np.asarray(picture.convert("RGB").resize((96, 96), Image.Resampling.BICUBIC))
        assert np.array_equal(stored[3], expected)


def test_runs_of_one_word_each_make_one_set(run_config, inference):
    for token in TOKENS:
        run_config("generating", INFERENCE, **inference, output_format="pcam", prompt=token)
    assert PatchCamelyonFiles.found(inference["output_dir"], "train").labels().tolist() == [0, 0, 1, 1]


def test_without_being_asked_no_patches_are_written(run_config, inference):
    run_config("generating", INFERENCE, **inference, prompt=f"{NORMAL} :0.5 AND {TUMOR} :0.5")
    assert len([*(inference["output_dir"] / "images").iterdir()]) == 2
    assert not (inference["output_dir"] / "pcam").exists()


def test_interpolating_goes_from_normal_to_tumour(run_config, inference):
    run_config("interpolating", INFERENCE, **inference)
    assert len(lines(inference["output_dir"])) == 2 * 5
    assert lines(inference["output_dir"])[2]["prompt"] == f"{NORMAL} :0.75 AND {TUMOR} :0.25"


def test_tumour_is_painted_into_a_patch(run_config, inference, tmp_path):
    before = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(before).save(tmp_path / "x.png")
    keys = {"prompt": TUMOR, "image": tmp_path / "x.png", "mask": "ellipse(60,60,20,20)", "mask_blur": 1.0}
    run_config("inpainting", INFERENCE, **inference, **keys)
    for line in lines(inference["output_dir"]):
        with Image.open(inference["output_dir"] / line["file"]) as picture:
            after = np.asarray(picture)
        assert np.array_equal(after[:, :30], before[:, :30])
        assert not np.array_equal(after, before)


@pytest.mark.parametrize(
    ("run_id", "overrides", "pattern"),
    [
        ("generating", {"output_format": "h5"}, r"output_format must be one of png, pcam, got 'h5': correct"),
        (
            "generating",
            {"prompt": f"{NORMAL} AND {TUMOR}"},
            rf"prompt must ask for exactly one of {NORMAL}, {TUMOR} where output_format is 'pcam', got '{NORMAL} AND ",
        ),
        ("interpolating", {}, r"output_format must be 'png' for interpolating, whose images have no label, got 'pcam'"),
        ("inpainting", {}, r"output_format must be 'png' for inpainting, whose images have no label, got 'pcam'"),
    ],
)
def test_patches_that_would_have_no_label(line_of, inference, run_id, overrides, pattern):
    line = line_of(run_id, INFERENCE, **{**inference, "output_format": "pcam", **overrides})
    assert re.search("^error: " + pattern, line)
    assert not (inference["output_dir"] / "images").exists()
