# SPDX-License-Identifier: Apache-2.0
"""Training and generating of the bundles, alone and under each overlay, do one real step."""

import json

import pytest
import torch
from configs_of_bundles import CHEST, HISTOPATHOLOGY, OVERLAYS, PROSTATE, REPOSITORY
from safetensors import safe_open

from medti_components.data.datasets.radiographs import FINDINGS
from medti_components.networks.embedding_files.embedding_file import save_embedding
from medti_components.random_streams import random_stream

EMBEDDED_BASE = REPOSITORY / "bundles" / "tiny_latent_diffusion" / "models"
STACKS = [[], *([overlay] for overlay in OVERLAYS)]
CONCEPTS = ("prostate_mri_negative", "prostate_mri_positive")
CHEST_CONCEPTS = tuple(f"chest_xray_{finding}" for finding in FINDINGS)
PATCH_CONCEPTS = ("histopathology_normal", "histopathology_tumor")
TRAININGS = {
    "prostate": (PROSTATE, "training", CONCEPTS),
    "chest": (CHEST, "chest_training", CHEST_CONCEPTS),
    "histopathology": (HISTOPATHOLOGY, "patch_training", PATCH_CONCEPTS),
}
needs_embedded_base = pytest.mark.skipif(not EMBEDDED_BASE.is_dir(), reason="the embedded base model is not there")


def stack_name(stack):
    return stack[0].stem if stack else "alone"


@pytest.fixture(scope="module")
def learned(micro_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings")
    for concept in (*CONCEPTS, *CHEST_CONCEPTS, *PATCH_CONCEPTS):
        rows = torch.randn(2, micro_model.width, generator=random_stream(0, concept))
        save_embedding(folder / f"{concept}.safetensors", f"<{concept}>", rows, {"base_model": micro_model.name})
    return folder


@pytest.mark.parametrize("bundle", TRAININGS)
@pytest.mark.parametrize("stack", STACKS, ids=stack_name)
def test_one_step_of_training(run_config, request, stack, bundle):
    configs, fixture, concepts = TRAININGS[bundle]
    training = request.getfixturevalue(fixture)
    run_config("training", [configs / "train.json", *stack], **training)
    output = training["output_dir"]
    assert {path.stem for path in (output / "embeddings").iterdir()} == set(concepts)
    for concept in concepts:
        with safe_open(output / "embeddings" / f"{concept}.safetensors", "pt") as file:
            assert [*file.keys()] == [f"<{concept}>"]
            assert file.get_tensor(f"<{concept}>").shape == (2, 32)
    config = json.loads((output / "config.json").read_text())
    assert config["max_steps"] == 1
    assert [*output.glob("checkpoints/*.safetensors")]


@pytest.mark.parametrize("bundle", TRAININGS)
@pytest.mark.parametrize("stack", STACKS, ids=stack_name)
def test_two_steps_of_generation(run_config, learned, micro_base, tmp_path, stack, bundle):
    configs, _, concepts = TRAININGS[bundle]
    run_config(
        "generating",
        [configs / "inference.json", *stack],
        embeddings=learned,
        base_model=micro_base,
        output_dir=tmp_path / "generated",
        prompt=f"<{concepts[0]}> :0.5 AND <{concepts[1]}> :0.5",
        num_images=2,
        num_inference_steps=2,
        show_progress=False,
        device="cpu",
    )
    assert len([*(tmp_path / "generated" / "images").glob("*.png")]) == 2
    assert (tmp_path / "generated" / "contact_sheet.png").is_file()
    lines = (tmp_path / "generated" / "provenance.jsonl").read_text().splitlines()
    assert [json.loads(line)["synthetic"] for line in lines] == [True, True]


@needs_embedded_base
def test_embedded_base_model_is_found_from_anywhere(run_config, training, tmp_path, monkeypatch):
    embedded = REPOSITORY / "configs" / "embedded.json"
    del training["base_model"]
    monkeypatch.chdir(tmp_path)
    run_config("training", [PROSTATE / "train.json", embedded], **{**training, "batch_size": 2})
    run_config(
        "generating",
        [PROSTATE / "inference.json", embedded],
        embeddings=training["output_dir"] / "embeddings",
        output_dir=tmp_path / "generated",
        num_images=1,
        num_inference_steps=1,
        show_progress=False,
        device="cpu",
    )
    assert len([*(tmp_path / "generated" / "images").glob("*.png")]) == len(CONCEPTS)
