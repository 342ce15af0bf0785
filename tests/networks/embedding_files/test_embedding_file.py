# SPDX-License-Identifier: Apache-2.0
import hashlib

import pytest
import torch
from safetensors.torch import load_file, save_file

from medti_components.errors import EmbeddingError, OutputError
from medti_components.networks.embedding_files.embedding_file import load_embedding, save_embedding
from medti_components.networks.embedding_files.learned_words import load_embeddings
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


@pytest.fixture(scope="module")
def model(micro_base):
    return FrozenLatentDiffusion.from_pretrained(str(micro_base))


@pytest.fixture
def rows():
    return torch.randn(3, 32, generator=torch.Generator().manual_seed(0))


def test_what_is_saved_is_loaded(tmp_path, rows):
    path = tmp_path / "nodule.safetensors"
    save_embedding(path, "<nodule>", rows.double(), {"base_model": "micro", "steps": "7"})
    loaded = load_embedding(path)
    assert loaded.token == "<nodule>"
    assert torch.equal(loaded.rows, rows)
    assert loaded.metadata == {"base_model": "micro", "steps": "7"}
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_file_holds_one_tensor_whose_key_is_the_token(tmp_path, rows):
    path = tmp_path / "nodule.safetensors"
    save_embedding(path, "<nodule>", rows, {})
    assert {key: value.shape for key, value in load_file(path).items()} == {"<nodule>": (3, 32)}


def test_diffusers_loads_the_file_and_encodes_the_same_prompt(tmp_path, micro_base, model, rows):
    from diffusers import StableDiffusionPipeline

    path = tmp_path / "nodule.safetensors"
    save_embedding(path, "<nodule>", rows, {"base_model": "micro"})
    pipeline = StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None)
    pipeline.load_textual_inversion(str(path))
    for prompt in ("<nodule>", "a large <nodule>, left 12", ""):
        expected, _ = pipeline.encode_prompt(prompt, "cpu", 1, False)
        torch.testing.assert_close(model.condition_from_prompt(prompt, {"<nodule>": rows}), expected)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(4), r"must hold floating-point rows of shape \(vectors, width\), got \(4,\) torch.float32"),
        (torch.zeros(0, 4), r"got \(0, 4\)"),
        (torch.zeros(2, 4, dtype=torch.int64), "torch.int64"),
        (torch.full((2, 4), float("nan")), "holds values that are not finite: the training diverged"),
    ],
)
def test_rows_that_are_no_finite_matrix_are_neither_saved_nor_loaded(tmp_path, bad, message):
    path = tmp_path / "a.safetensors"
    with pytest.raises(EmbeddingError, match=message):
        save_embedding(path, "<a>", bad, {})
    assert not path.exists()
    save_file({"<a>": bad}, path)
    with pytest.raises(EmbeddingError, match=message):
        load_embedding(path)


def test_metadata_value_that_is_no_string_is_refused(tmp_path, rows):
    with pytest.raises(EmbeddingError, match="metadata 'steps' of '<a>' must be a string, got int"):
        save_embedding(tmp_path / "a.safetensors", "<a>", rows, {"steps": 7})  # type: ignore[dict-item]


def test_unwritable_target_is_an_output_error(tmp_path, rows):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be written"):
        save_embedding(tmp_path / "file" / "a.safetensors", "<a>", rows, {})


def test_missing_truncated_and_foreign_files_are_named(tmp_path, rows):
    with pytest.raises(EmbeddingError, match=r"embedding file '.*none.safetensors' does not exist"):
        load_embedding(tmp_path / "none.safetensors")
    path = tmp_path / "a.safetensors"
    save_embedding(path, "<a>", rows, {})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(EmbeddingError, match=r"'.*a.safetensors' is not a whole safetensors file"):
        load_embedding(path)
    save_file({"a": rows, "b": rows + 1}, path)
    with pytest.raises(EmbeddingError, match=r"must hold one tensor, its key the token, got 2 \('a', 'b'\)"):
        load_embedding(path)
    save_file({"emb_params": rows}, path)
    with pytest.raises(EmbeddingError, match=r"'.*a.safetensors': concept token must be .* got 'emb_params'"):
        load_embedding(path)


def test_nothing_that_a_file_says_reaches_the_terminal_raw(tmp_path, model, rows):
    path = tmp_path / "a.safetensors"
    save_file({"<a>\x1b[2J": rows}, path)
    with pytest.raises(EmbeddingError, match=r"got '<a>\\x1b\[2J'.*or import another tool's file by") as caught:
        load_embedding(path)
    assert str(caught.value).isprintable()
    save_embedding(path, "<a>", rows, {"base_model": "other\x1b", "base_model_sha256": "\n" * 64})
    with pytest.raises(EmbeddingError, match=r"learned on 'other\?' \(sha256 \?{12}\)"):
        load_embeddings(path, model)


def test_folder_file_and_list_of_files_give_the_same(tmp_path, model, rows):
    for name in ("b", "a"):
        save_embedding(tmp_path / f"{name}.safetensors", f"<{name}>", rows, {})
    assert list(load_embeddings(tmp_path, model)) == ["<a>", "<b>"]
    assert list(load_embeddings(str(tmp_path / "b.safetensors"), model)) == ["<b>"]
    assert list(load_embeddings([tmp_path / "b.safetensors", tmp_path / "a.safetensors"], model)) == ["<b>", "<a>"]


def test_nothing_to_load_is_an_error_that_says_where(tmp_path, model):
    with pytest.raises(EmbeddingError, match=r"embeddings '.*nowhere' is neither a folder nor a file"):
        load_embeddings(tmp_path / "nowhere", model)
    with pytest.raises(EmbeddingError, match=r"embeddings folder '.*' holds no \*.safetensors file: train first"):
        load_embeddings(tmp_path, model)
    with pytest.raises(EmbeddingError, match="embeddings must name a folder or at least one file, got an empty list"):
        load_embeddings([], model)


def test_two_files_of_one_token_are_an_error(tmp_path, model, rows):
    for name in ("a", "b"):
        save_embedding(tmp_path / f"{name}.safetensors", "<same>", rows, {})
    with pytest.raises(EmbeddingError, match="both hold '<same>': give one of them"):
        load_embeddings(tmp_path, model)


def test_other_width_is_an_error_that_names_both_models(tmp_path, model):
    save_embedding(tmp_path / "a.safetensors", "<a>", torch.zeros(2, 24), {"base_model": "stable-diffusion-1"})
    with pytest.raises(
        EmbeddingError,
        match="embedding width 24 does not match text encoder width 32: .* on 'stable-diffusion-1', loaded into",
    ):
        load_embeddings(tmp_path, model, allow_other_base=True)


def test_more_vectors_than_the_encoder_takes_are_an_error(tmp_path, model):
    save_embedding(tmp_path / "a.safetensors", "<a>", torch.zeros(76, 32), {})
    with pytest.raises(EmbeddingError, match="must hold at most 75 vectors, .* got 76"):
        load_embeddings(tmp_path, model)


def test_word_learned_on_another_base_is_refused_unless_allowed(tmp_path, model, rows):
    metadata = {"base_model": "other-base", "base_model_sha256": "0" * 64}
    save_embedding(tmp_path / "a.safetensors", "<a>", rows, metadata)
    with pytest.raises(EmbeddingError, match=rf"'other-base' \(sha256 000000000000\).*{model.fingerprint[:12]}"):
        load_embeddings(tmp_path, model)
    assert list(load_embeddings(tmp_path, model, allow_other_base=True)) == ["<a>"]
    save_embedding(tmp_path / "a.safetensors", "<a>", rows, {"base_model_sha256": model.fingerprint})
    assert list(load_embeddings(tmp_path, model)) == ["<a>"]
