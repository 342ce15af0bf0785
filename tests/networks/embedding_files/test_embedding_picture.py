# SPDX-License-Identifier: Apache-2.0
import base64
import io
import json
import struct
import zlib
from pathlib import Path

import pytest
import torch
from embedding_samples import picture, picture_text, web_ui
from PIL import Image, PngImagePlugin

from medti_components.errors import EmbeddingError, OutputError
from medti_components.networks.embedding_files.embedding_picture import read_embedding_picture, save_embedding_picture

PATH = Path("word.png")
TINY = torch.finfo(torch.float32).smallest_normal


def refusal(content):
    with pytest.raises(EmbeddingError) as caught:
        read_embedding_picture(content, PATH)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_float32_survives_the_decimals_bit_for_bit(tmp_path):
    bits = torch.randint(-(2**31), 2**31, (4096,), generator=torch.Generator().manual_seed(0)).to(torch.int32)
    numbers = bits.view(torch.float32)
    extremes = torch.tensor([0.0, -0.0, TINY, TINY / 2**23, torch.finfo(torch.float32).max, 1 / 3])
    rows = torch.cat([numbers[numbers.isfinite()][:4000], extremes])[None]
    save_embedding_picture(tmp_path / "word.png", rows, {"name": "<a>"})
    read = read_embedding_picture((tmp_path / "word.png").read_bytes(), PATH)
    assert read["name"] == "<a>"
    assert torch.equal(read["string_to_param"]["*"].tensor().view(torch.int32), rows.view(torch.int32))


def test_the_picture_is_small_and_shows_the_rows(tmp_path):
    save_embedding_picture(tmp_path / "word.png", torch.tensor([[0.0, 1.0], [2.0, 4.0]]), {})
    with Image.open(tmp_path / "word.png") as shown:
        assert shown.size == (256, 256)
        corners = [shown.getpixel(place) for place in ((0, 0), (255, 0), (0, 255), (255, 255))]
    assert corners == [(0,) * 3, (64,) * 3, (128,) * 3, (255,) * 3]
    save_embedding_picture(tmp_path / "flat.png", torch.zeros(2, 4), {})


def test_the_web_ui_finds_what_it_looks_for(tmp_path):
    save_embedding_picture(tmp_path / "word.png", torch.ones(2, 4), {"name": "<a>", "step": 7})
    with Image.open(tmp_path / "word.png") as shown:
        content = json.loads(base64.b64decode(shown.text["sd-ti-embedding"]))
    assert content["string_to_param"] == {"*": {"TORCHTENSOR": [[1.0] * 4] * 2}}
    assert (content["string_to_token"], content["name"], content["step"]) == ({"*": 265}, "<a>", 7)


def test_an_unwritable_folder_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be written"):
        save_embedding_picture(tmp_path / "file" / "word.png", torch.zeros(1, 2), {})


def test_a_stripped_or_damaged_picture_is_refused():
    assert "is a picture without the text chunk 'sd-ti-embedding': many sites strip it" in refusal(picture(None))
    whole = picture(picture_text(web_ui({"TORCHTENSOR": [[1.0]]})))
    assert read_embedding_picture(whole, PATH)["step"] == 499
    for content in (whole[:-20], whole[:60], whole[:20]):
        assert "is not a whole PNG picture" in refusal(content)


@pytest.mark.parametrize(
    "text",
    [
        "!",
        "AAAA",
        base64.b64encode(b"{").decode(),
        base64.b64encode(b"[" * 10**6).decode(),
        base64.b64encode(b'{"a": 1' + b"0" * 5000 + b"}").decode(),
        picture_text({"TORCHTENSOR": [[1.0], [1.0, 2.0]]}),
        picture_text({"TORCHTENSOR": [["a"]]}),
        picture_text({"TORCHTENSOR": [[10**400]]}),
        picture_text({"TORCHTENSOR": {"a": 1}}),
        picture_text({"TORCHTENSOR": {"TORCHTENSOR": [[1.0]]}}),
    ],
)
def test_a_text_chunk_that_is_no_embedding_is_refused(text):
    assert "'word.png' has a text chunk that can't be read" in refusal(picture(text))


@pytest.mark.parametrize("value", [[1], 5, None, "a"])
def test_a_text_chunk_without_an_object_is_refused(value):
    assert "must have a JSON object as its text chunk" in refusal(picture(picture_text(value)))


def test_decompression_bombs_are_refused():
    head, tail = picture(None)[:33], picture(None)[33:]
    bomb = chunk(b"zTXt", b"sd-ti-embedding\0\0" + zlib.compress(bytes(10**7)))
    assert "is not a whole PNG picture" in refusal(head + bomb + tail)
    stream = io.BytesIO()
    Image.new("1", (8, 8)).save(stream, "PNG", pnginfo=PngImagePlugin.PngInfo())
    wide = stream.getvalue()[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 10**4, 10**4, 1, 0, 0, 0, 0))
    assert "exceeds limit" in refusal(wide + stream.getvalue()[33:])
