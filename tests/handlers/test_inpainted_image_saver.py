# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
import torch
from inpainting_runs import MASKED, canvas_of, engine_of
from PIL import Image

from medti_components.handlers.generated_image_saver import InpaintedImageSaver
from medti_components.inferers.inpainting_sampler import InpaintingSampler
from medti_components.inferers.latent_sampler import LatentSampler
from medti_components.inferers.prompt_inferer import PromptInferer
from medti_components.networks.concept_embedding import ConceptEmbedding
from medti_components.networks.embedding_files.embedding_file import save_embedding
from medti_components.networks.embedding_files.learned_words import load_embeddings
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

RANDOM = np.random.default_rng(0)
PICTURES = {
    "L": RANDOM.integers(0, 256, (32, 32), dtype=np.uint8),
    "RGB": RANDOM.integers(0, 256, (32, 32, 3), dtype=np.uint8),
    "I;16": RANDOM.integers(0, 65536, (32, 32), dtype=np.uint16),
}


@pytest.fixture(scope="module")
def model(micro_base):
    return FrozenLatentDiffusion.from_pretrained(str(micro_base))


@pytest.fixture(scope="module")
def words(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings")
    for token in ("<a>", "<b>"):
        save_embedding(
            folder / f"{token[1]}.safetensors", token, ConceptEmbedding.initialized(token, 2, model, 0).rows, {}
        )
    return load_embeddings(folder, model)


def saver_of(folder, canvas, words, **settings):
    sampler = InpaintingSampler(LatentSampler(num_inference_steps=20), canvas, **settings)
    return InpaintedImageSaver(folder, PromptInferer(sampler, words, show_progress=False), canvas)


@pytest.mark.parametrize("mode", PICTURES)
def test_file_holds_the_input_outside_the_mask_and_the_painting_inside(tmp_path, model, words, mode):
    pixels = PICTURES[mode]
    saver_of(tmp_path, canvas_of(pixels), words)(engine_of(torch.ones(1, 3, 32, 32), network=model))
    with Image.open(tmp_path / "images" / "a_0.png") as opened:
        assert opened.mode == mode
        saved = np.asarray(opened)
    expected = pixels.copy()
    expected[MASKED] = 65535 if mode == "I;16" else 255
    assert np.array_equal(saved, expected)


def test_masks_tell_what_was_asked_for_and_what_may_have_changed(tmp_path, model, words):
    canvas = canvas_of(PICTURES["L"], mask_blur=1.0)
    saver_of(tmp_path, canvas, words)(engine_of(torch.ones(2, 3, 32, 32), network=model))
    for name in ("a_0", "a_1"):
        with Image.open(tmp_path / "masks" / f"{name}.png") as opened:
            hard = np.asarray(opened)
        assert int((hard == 255).sum()) == int((hard > 0).sum()) == 120
        with Image.open(tmp_path / "masks" / f"{name}_soft.png") as opened:
            soft = np.asarray(opened)
        assert np.array_equal(soft > 0, canvas.weight.numpy() > 0)
        assert soft[15, 18] == 255


def test_provenance_says_what_was_painted_into_and_how(tmp_path, model, words):
    canvas = canvas_of(PICTURES["RGB"], mask_blur=0.5, only_masked=True, padding=3)
    saver = saver_of(tmp_path, canvas, words, strength=0.5, fill="noise")
    saver(engine_of(torch.ones(1, 3, 32, 32), prompt="<a> AND <b> :-0.5 AND small", network=model))
    [line] = [json.loads(text) for text in (tmp_path / "provenance.jsonl").read_text().splitlines()]
    expected = {
        "file": "images/a_0.png",
        "weights": [1.0, -0.5, 1.0],
        "concepts": ["<a>"],
        "image": "x.png",
        "image_sha256": "0" * 64,
        "mask": "box(12,10,24,20)",
        "strength": 0.5,
        "num_steps_run": 10,
        "fill": "noise",
        "mask_blur": 0.5,
        "only_masked": True,
        "padding": 3,
        "square": [canvas.top, canvas.left, canvas.edge],
    }
    assert {key: line[key] for key in expected} == expected


def test_datalist_holds_all_painted_images_of_the_folder_and_no_others(tmp_path, model, words):
    other = {"file": "images/other.png", "prompt": "<b>"}
    (tmp_path / "provenance.jsonl").write_text(json.dumps(other) + "\n")
    saver = saver_of(tmp_path, canvas_of(PICTURES["RGB"]), words)
    saver(engine_of(torch.ones(2, 3, 32, 32), network=model))
    saver.save_datalist()
    assert json.loads((tmp_path / "datalist.json").read_text()) == {
        "training": [
            {"image": f"images/a_{seed}.png", "mask": f"masks/a_{seed}.png", "concepts": ["<a>"], "seed": seed}
            for seed in (0, 1)
        ]
    }
