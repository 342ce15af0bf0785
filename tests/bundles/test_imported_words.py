# SPDX-License-Identifier: Apache-2.0
"""Words of other tools, imported on the command line, in the bundles' own generation and in diffusers."""

import json
import os
from pathlib import Path

import pytest
import torch
from configs_of_bundles import PROSTATE
from diffusers import StableDiffusionPipeline
from embedding_samples import torch_file, web_ui

from medti_components.__main__ import main
from medti_components.networks.embedding_files.embedding_file import load_embedding
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

INFERENCE = [PROSTATE / "inference.json"]
REAL = Path(os.environ.get("MEDTI_REAL_DATA", Path(__file__).parents[3] / "shared" / "data")) / "published_embeddings"
PUBLISHED = sorted(REAL.glob("*.pt"))


@pytest.fixture
def published_like(tmp_path):
    """A file as those published with the paper: 64 vectors of Stable Diffusion 2's width."""
    rows = torch.nn.Parameter(torch.randn(64, 1024, generator=torch.Generator().manual_seed(0)))
    path = tmp_path / "published.pt"
    path.write_bytes(torch_file(web_ui(rows)))
    return path


def import_word(path, token, folder):
    assert main(["embedding", "import", str(path), "--token", token, "--output_dir", str(folder)]) == 0


def test_an_imported_word_generates_with_a_text_encoder_of_its_width(
    run_config, line_of, published_like, micro_base, micro_base_1024, tmp_path
):
    import_word(published_like, "<nodule>", tmp_path / "words")
    keys = {
        "embeddings": tmp_path / "words",
        "output_dir": tmp_path / "generating",
        "prompt": "<nodule>",
        "num_images": 1,
        "num_inference_steps": 2,
        "show_progress": False,
        "device": "cpu",
    }
    run_config("generating", INFERENCE, base_model=micro_base_1024, **keys)
    [line] = (tmp_path / "generating" / "provenance.jsonl").read_text().splitlines()
    word = load_embedding(tmp_path / "words" / "nodule.safetensors")
    assert json.loads(line)["embedding_sha256"] == {"<nodule>": word.sha256}
    error = line_of("generating", INFERENCE, base_model=micro_base, allow_other_base=True, **keys)
    assert "embedding width 1024 does not match text encoder width 32" in error
    assert "learned on '512-base-ema', loaded into 'micro_base'" in error


def test_diffusers_encodes_what_was_exported_as_we_do(published_like, micro_base_1024, tmp_path):
    import_word(published_like, "<nodule>", tmp_path)
    word = load_embedding(tmp_path / "nodule.safetensors")
    target = str(tmp_path / "exported.safetensors")
    assert main(["embedding", "export", str(word.path), "--format", "diffusers", "--output_file", target]) == 0
    pipeline = StableDiffusionPipeline.from_pretrained(micro_base_1024, safety_checker=None)
    pipeline.load_textual_inversion(target)
    expected, _ = pipeline.encode_prompt("<nodule>", "cpu", 1, False)
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base_1024))
    torch.testing.assert_close(model.condition_from_prompt("<nodule>", {"<nodule>": word.rows}), expected)


@pytest.mark.skipif(not PUBLISHED, reason="the published embeddings are not here")
def test_the_published_words_are_imported_bit_for_bit_and_generate(run_config, micro_base_1024, tmp_path):
    assert len(PUBLISHED) == 5
    for path in PUBLISHED:
        import_word(path, f"<{path.stem}>", tmp_path / "words")
        original = torch.load(path, weights_only=True, map_location="cpu")
        word = load_embedding(tmp_path / "words" / f"{path.stem}.safetensors")
        assert torch.equal(word.rows, original["string_to_param"]["*"])
        assert word.metadata["base_model"] == "checkpoints_512-base-ema"
        assert word.metadata["steps"] == str(original["step"])
    run_config(
        "generating",
        INFERENCE,
        embeddings=tmp_path / "words",
        output_dir=tmp_path / "generating",
        base_model=micro_base_1024,
        num_images=1,
        num_inference_steps=1,
        show_progress=False,
        device="cpu",
    )
    images = {path.name for path in (tmp_path / "generating" / "images").iterdir()}
    assert images == {f"{path.stem}_0.png" for path in PUBLISHED}
