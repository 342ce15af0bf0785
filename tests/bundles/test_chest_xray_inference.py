# SPDX-License-Identifier: Apache-2.0
"""The chest bundle generates, composes, interpolates and inpaints images without volumes."""

import json

import numpy as np
import pytest
from configs_of_bundles import CHEST
from PIL import Image

from medti_components.data.datasets.radiographs import FINDINGS
from medti_components.networks.concept_embedding import ConceptEmbedding
from medti_components.networks.embedding_files.embedding_file import concept_name, save_embedding
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

INFERENCE = [CHEST / "inference.json"]
TOKENS = [f"<chest_xray_{finding}>" for finding in FINDINGS]


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
        "num_inference_steps": 3,
        "batch_size": 4,
        "show_progress": False,
        "device": "cpu",
    }


def provenance(folder):
    return [json.loads(line) for line in (folder / "provenance.jsonl").read_text(encoding="utf-8").splitlines()]


def test_three_findings_are_composed(run_config, inference):
    prompt = " AND ".join(f"{token} :0.5" for token in TOKENS[1:])
    run_config("generating", INFERENCE, **inference, prompt=prompt, guidance_scale=3.0)
    lines = provenance(inference["output_dir"])
    assert [line["seed"] for line in lines] == [0, 1]
    assert lines[0]["texts"] == TOKENS[1:] and lines[0]["weights"] == [0.5] * 3
    assert set(lines[0]["embedding_sha256"]) == set(TOKENS[1:])
    assert not (inference["output_dir"] / "volumes").exists()


def test_interpolating_goes_from_no_finding_to_a_finding(run_config, inference):
    run_config("interpolating", INFERENCE, **inference)
    lines = provenance(inference["output_dir"])
    assert len(lines) == 2 * 5
    assert lines[2]["prompt"] == "<chest_xray_no_finding> :0.75 AND <chest_xray_cardiomegaly> :0.25"
    assert (inference["output_dir"] / "contact_sheet.png").is_file()


def test_a_finding_is_painted_into_a_picture(run_config, inference, tmp_path):
    before = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(before).save(tmp_path / "x.png")
    run_config(
        "inpainting",
        INFERENCE,
        **inference,
        prompt=TOKENS[2],
        image=tmp_path / "x.png",
        mask="ellipse(40,40,12,12)",
        mask_blur=1.0,
    )
    for line in provenance(inference["output_dir"]):
        with Image.open(inference["output_dir"] / line["file"]) as picture:
            after = np.asarray(picture.convert("L"))
        assert np.array_equal(after[:, :20], before[:, :20])
        assert not np.array_equal(after, before)
