# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from medti_components.errors import EmbeddingError
from medti_components.networks.embedding_files.embedding_export import FILE_ENDINGS, export_embedding
from medti_components.networks.embedding_files.embedding_file import load_embedding, save_embedding
from medti_components.networks.embedding_files.foreign_embedding import load_foreign_embedding

ROWS = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
METADATA = {"base_model": "a base", "base_model_sha256": "0" * 64, "steps": "7", "seed": "3", "note": "ä"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", FILE_ENDINGS)
def test_a_round_trip_gives_the_same_tensor_bit_for_bit_and_keeps_provenance(tmp_path, layout, dtype):
    rows = ROWS.to(dtype)
    path = tmp_path / f"word{FILE_ENDINGS[layout]}"
    export_embedding(path, layout, "<word>", rows, METADATA)
    found = load_foreign_embedding(path)
    assert found.name == "<word>"
    kept = torch.float32 if layout == "png" else dtype
    assert found.rows.dtype == kept
    assert torch.equal(found.rows.view(torch.uint8), rows.to(kept).view(torch.uint8))
    assert found.metadata == METADATA
    save_embedding(tmp_path / "again.safetensors", found.name, found.rows, found.metadata)
    assert torch.equal(load_embedding(tmp_path / "again.safetensors").rows, rows.float())


@pytest.mark.parametrize("layout", ["diffusers", "webui", "kohya"])
def test_one_tensor_in_safetensors_is_what_the_web_ui_loads(tmp_path, layout):
    path = tmp_path / "word.safetensors"
    export_embedding(path, layout, "<word>", ROWS, METADATA)
    key = "emb_params" if layout == "kohya" else "<word>"
    assert {name: rows.shape for name, rows in load_file(path).items()} == {key: (3, 32)}


def test_a_picture_says_step_and_checkpoint_as_the_web_ui_does(tmp_path):
    export_embedding(tmp_path / "a.png", "png", "<word>", ROWS, {"sd_checkpoint": "09dd2ae4", "steps": "unknown"})
    assert load_foreign_embedding(tmp_path / "a.png").metadata == {"sd_checkpoint": "09dd2ae4", "steps": "unknown"}


def test_diffusers_loads_the_export_and_encodes_the_same_prompt(tmp_path, micro_base, micro_model):
    path = tmp_path / "word.safetensors"
    export_embedding(path, "diffusers", "<word>", ROWS, METADATA)
    pipeline = StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None)
    pipeline.load_textual_inversion(str(path))
    expected, _ = pipeline.encode_prompt("a <word>, left", "cpu", 1, False)
    torch.testing.assert_close(micro_model.condition_from_prompt("a <word>, left", {"<word>": ROWS}), expected)


@pytest.mark.parametrize(
    ("name", "layout", "token", "rows", "message"),
    [
        ("a.pt", "pt", "<a>", ROWS, "format must be one of diffusers, webui, kohya, png, got 'pt'"),
        (
            "a.pt",
            "webui",
            "<a>",
            ROWS,
            r"output_file must end in .safetensors for format 'webui', got '.*a.pt': tools go",
        ),
        ("a.safetensors", "png", "<a>", ROWS, "output_file must end in .png for format 'png', got"),
        ("a.png", "png", "a", ROWS, "concept token must be a word in angle brackets"),
        ("a.png", "png", "<a>", ROWS / 0, "embedding of '<a>' holds values that are not finite"),
    ],
)
def test_what_no_tool_could_read_is_not_written(tmp_path, name, layout, token, rows, message):
    with pytest.raises(EmbeddingError, match=message):
        export_embedding(tmp_path / name, layout, token, rows, {})
    assert list(tmp_path.iterdir()) == []
