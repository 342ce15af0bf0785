# SPDX-License-Identifier: Apache-2.0
import hashlib
import os
import subprocess
import sys

import pytest
import torch
from diffusers import StableDiffusionPipeline
from embedding_samples import WEB_UI_FACTS, Call, pickle_of, samples, torch_file, web_ui
from safetensors.torch import load_file, save

from medti_components.errors import EmbeddingError
from medti_components.networks.embedding_files.embedding_file import MAX_BYTES, load_embedding, save_embedding
from medti_components.networks.embedding_files.foreign_embedding import (
    FILE_ENDINGS,
    export_embedding,
    load_foreign_embedding,
)

ROWS = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
FORMATS = list(samples(ROWS))


@pytest.fixture
def refusal(tmp_path):
    """Return the message for a file of the given bytes."""

    def refusal(content, allow_pickle=True):
        path = tmp_path / "word.any"
        path.write_bytes(content)
        with pytest.raises(EmbeddingError) as caught:
            load_foreign_embedding(path, allow_pickle)
        message = str(caught.value)
        assert str(path) in message
        assert "\n" not in message
        return message

    return refusal


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_layout_is_known_by_its_content_and_keeps_rows_and_precision(tmp_path, kind, dtype):
    rows = ROWS.to(dtype)
    path = tmp_path / "word.any"
    path.write_bytes(samples(rows)[kind])
    found = load_foreign_embedding(path, allow_pickle=True)
    assert f"{found.layout}, {found.container}" == kind.replace(" slots", "")
    assert found.rows.dtype == (torch.float32 if found.container == "PNG" else dtype)
    assert torch.equal(found.rows, rows.to(found.rows.dtype))
    assert not found.rows.requires_grad
    names = {"web UI": "nodule-500", "kohya": None, "OneTrainer": None}
    assert found.name == names.get(found.layout, "<nodule>")
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if "pickle" not in kind])
def test_only_a_pickle_needs_pytorch_to_be_looked_into(tmp_path, kind):
    path = tmp_path / "word.any"
    path.write_bytes(samples(ROWS)[kind])
    script = (
        "import sys\n"
        "from medti_components.networks.embedding_files.foreign_embedding import load_foreign_embedding\n"
        f"print(load_foreign_embedding({str(path)!r}).stored.numbers.shape, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == f"{tuple(ROWS.shape)} False\n"


def test_provenance_is_what_the_tool_wrote_in_our_keys(tmp_path):
    path = tmp_path / "word"
    expected = {"base_model": "512-base-ema", "sd_checkpoint": "09dd2ae4", "steps": "499"}
    for kind in ("web UI, pickle", "web UI, PNG"):
        path.write_bytes(samples(ROWS)[kind])
        assert load_foreign_embedding(path, allow_pickle=True).metadata == expected
    path.write_bytes(torch_file({"string_to_param": {"*": ROWS}, "name": 5, "step": None, "sd_checkpoint": "\ud800"}))
    found = load_foreign_embedding(path, allow_pickle=True)
    assert (found.name, found.metadata) == (None, {"sd_checkpoint": "?"})
    path.write_bytes(save({"emb_params": ROWS}, {"token": "<a>", "seed": "3"}))
    found = load_foreign_embedding(path)
    assert (found.name, found.metadata) == ("<a>", {"seed": "3"})


def test_one_vector_without_a_first_axis_is_a_row(tmp_path):
    path = tmp_path / "word"
    path.write_bytes(save({"<a>": ROWS[0].clone()}))
    assert load_foreign_embedding(path).rows.shape == (1, 8)


def test_pickles_are_opened_on_request_alone(tmp_path, refusal):
    message = refusal(samples(ROWS)["web UI, pickle"], allow_pickle=False)
    assert message.endswith(
        "read on import alone: import another tool's file by 'python -m medti_components embedding import'"
    )
    with pytest.raises(EmbeddingError, match=r"is not a whole safetensors file .* import another tool's file by"):
        load_embedding(tmp_path / "word.any")


def test_a_bare_pickle_is_never_opened(tmp_path, refusal):
    content = pickle_of(Call(os.system, f"touch {tmp_path / 'canary'}"))
    assert refusal(content).endswith("is a pickle outside PyTorch's zip archive, which is never opened")
    legacy = torch_file(web_ui(ROWS), _use_new_zipfile_serialization=False)
    assert "which is never opened" in refusal(legacy)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a safetensors file, a PyTorch file or a PNG picture, got neither: is it damaged?"),
        (b"GIF89a, say", "got neither"),
        (save({"<a>": ROWS})[:-1], "is not a whole safetensors file"),
        (
            save({"clip_l": ROWS, "clip_g": ROWS + 1}),
            "for SDXL, which has two text encoders ('clip_g', 'clip_l'): give one",
        ),
        (save({"a": ROWS, "b": ROWS + 1}), "must hold the vectors of one word, got 2 entries ('a', 'b')"),
        (
            save({"emp_params_out": ROWS}),
            "holds 'emp_params_out', OneTrainer's vectors behind the text encoder, and no w",
        ),
        (
            save({"text_projection": ROWS}),
            "holds 'text_projection', which is neither a word in angle brackets nor the n",
        ),
        (save({"<a>": torch.ones(76, 8)}), "must hold at most 75 vectors, as many as a text encoder takes, got 76"),
        (
            torch_file(web_ui(torch.ones(1024, 8))),
            "must hold at most 75 vectors, as many as a text encoder takes, got 1",
        ),
        (save({}), "must hold the vectors of one word, got 0 entries (none)"),
        (torch_file({}), "got 0 entries (none)"),
        (save({"a": ROWS[0].clone(), "a_1": ROWS[1, :4].clone()}), "must hold slots of one width, got '8', '4'"),
        (torch_file({"a": 5}), "must hold tensors, got int: is it an embedding file?"),
        (torch_file({"string_to_param": 5}), "must hold one tensor in 'string_to_param', got int"),
        (
            torch_file({"string_to_param": {"*": ROWS, "+": ROWS + 1}}),
            "must hold one tensor in 'string_to_param', got 2",
        ),
        (
            torch_file({"a": ROWS[:1, :1].expand(2**20, 2**20)}),
            "holds a tensor (1048576, 1048576) without as many numb",
        ),
        (
            torch_file({"a": ROWS.long()}),
            "must hold floating-point rows of shape (vectors, width), got (3, 8) torch.int64",
        ),
        (save({"a": ROWS[None].clone()}), "got (1, 3, 8) torch.float32"),
        (save({"a": torch.tensor([[1.0, float("nan")]])}), "holds values that are not finite"),
        (save({"a": torch.tensor([[1e300]], dtype=torch.float64)}), "holds values that are not finite"),
        (torch_file(web_ui(torch.tensor([[float("inf")]]))), "holds values that are not finite"),
    ],
)
def test_what_is_no_embedding_is_refused_by_name(refusal, content, message):
    assert message in refusal(content)


def test_of_onetrainer_s_two_tensors_the_one_before_the_text_encoder_is_the_word(tmp_path):
    path = tmp_path / "word.safetensors"
    path.write_bytes(save({"emp_params": ROWS, "emp_params_out": ROWS + 1}))
    found = load_foreign_embedding(path)
    assert torch.equal(found.rows, ROWS) and found.layout == "OneTrainer"
    assert found.note.startswith("'emp_params_out' is left out: its vectors stand behind the text encoder")


def test_a_tensor_of_unknown_name_is_the_word_where_the_user_says_so(tmp_path):
    path = tmp_path / "word.safetensors"
    path.write_bytes(save({"chexpert_healthy": ROWS, "other": ROWS + 1}))
    found = load_foreign_embedding(path, key="chexpert_healthy")
    assert torch.equal(found.rows, ROWS) and found.name == "chexpert_healthy"
    with pytest.raises(
        EmbeddingError, match=r"has no tensor 'healthy': give one of 'chexpert_healthy', 'other' by --key"
    ):
        load_foreign_embedding(path, key="healthy")


def test_a_parameter_dict_is_never_opened_and_can_be_saved_anew(tmp_path):
    path = tmp_path / "word.pt"
    content = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": torch.nn.ParameterDict({"*": ROWS})}
    path.write_bytes(torch_file(content))
    with pytest.raises(EmbeddingError, match="holds a ParameterDict, .* save it anew where it was made: ") as caught:
        load_foreign_embedding(path, allow_pickle=True)
    remedy = str(caught.value).partition("where it was made: ")[2]
    names = {"torch": torch, "FILE": str(path), "NEW_FILE": str(tmp_path / "new.pt")}
    exec(remedy, names)  # noqa: S102 what the message tells a user to run
    assert torch.equal(load_foreign_embedding(tmp_path / "new.pt", allow_pickle=True).rows, ROWS)


def test_missing_and_oversized_files_are_refused_before_they_are_read(tmp_path, refusal):
    with pytest.raises(EmbeddingError, match=r"embedding file '.*none.pt' does not exist: give its path"):
        load_foreign_embedding(tmp_path / "none.pt")
    path = tmp_path / "model.safetensors"
    with open(path, "wb") as file:
        file.truncate(MAX_BYTES + 10**9)
    for load in (load_foreign_embedding, load_embedding):
        with pytest.raises(EmbeddingError, match=r"must be at most 16 MB, .* got 1016 MB: is it a whole model\?"):
            load(path)


def test_unreadable_file_is_named(tmp_path, monkeypatch):
    path = tmp_path / "word"
    path.write_bytes(b"a")
    monkeypatch.setattr(type(path), "read_bytes", lambda self: (tmp_path / "none").read_text())
    with pytest.raises(EmbeddingError, match=r"'.*word' can't be read \(No such file or directory\): check its perm"):
        load_foreign_embedding(path)


def test_nothing_that_a_file_says_reaches_the_terminal_raw(refusal):
    assert "('a?[31m', 'b')" in refusal(save({"a\x1b[31m": ROWS, "b": ROWS + 1}))
    assert WEB_UI_FACTS["name"] not in refusal(torch_file({"a\nb" * 100: 5, "c": 6}))


WIDE_ROWS = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
METADATA = {"base_model": "a base", "base_model_sha256": "0" * 64, "steps": "7", "seed": "3", "note": "ä"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", FILE_ENDINGS)
def test_a_round_trip_gives_the_same_tensor_bit_for_bit_and_keeps_provenance(tmp_path, layout, dtype):
    rows = WIDE_ROWS.to(dtype)
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
    export_embedding(path, layout, "<word>", WIDE_ROWS, METADATA)
    key = "emb_params" if layout == "kohya" else "<word>"
    assert {name: rows.shape for name, rows in load_file(path).items()} == {key: (3, 32)}


def test_a_picture_says_step_and_checkpoint_as_the_web_ui_does(tmp_path):
    export_embedding(tmp_path / "a.png", "png", "<word>", WIDE_ROWS, {"sd_checkpoint": "09dd2ae4", "steps": "unknown"})
    assert load_foreign_embedding(tmp_path / "a.png").metadata == {"sd_checkpoint": "09dd2ae4", "steps": "unknown"}


def test_diffusers_loads_the_export_and_encodes_the_same_prompt(tmp_path, micro_base, micro_model):
    path = tmp_path / "word.safetensors"
    export_embedding(path, "diffusers", "<word>", WIDE_ROWS, METADATA)
    pipeline = StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None)
    pipeline.load_textual_inversion(str(path))
    expected, _ = pipeline.encode_prompt("a <word>, left", "cpu", 1, False)
    torch.testing.assert_close(micro_model.condition_from_prompt("a <word>, left", {"<word>": WIDE_ROWS}), expected)


@pytest.mark.parametrize(
    ("name", "layout", "token", "rows", "message"),
    [
        ("a.pt", "pt", "<a>", WIDE_ROWS, "format must be one of diffusers, webui, kohya, png, got 'pt'"),
        (
            "a.pt",
            "webui",
            "<a>",
            WIDE_ROWS,
            r"output_file must end in .safetensors for format 'webui', got '.*a.pt': tools go",
        ),
        ("a.safetensors", "png", "<a>", WIDE_ROWS, "output_file must end in .png for format 'png', got"),
        ("a.png", "png", "a", WIDE_ROWS, "concept token must be a word in angle brackets"),
        ("a.png", "png", "<a>", WIDE_ROWS / 0, "embedding of '<a>' holds values that are not finite"),
    ],
)
def test_what_no_tool_could_read_is_not_written(tmp_path, name, layout, token, rows, message):
    with pytest.raises(EmbeddingError, match=message):
        export_embedding(tmp_path / name, layout, token, rows, {})
    assert list(tmp_path.iterdir()) == []
