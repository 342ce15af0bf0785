# SPDX-License-Identifier: Apache-2.0
import builtins
import io
import os
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from embedding_samples import Call, archive, pickle_of, samples, torch_file

from medti_components.errors import EmbeddingError
from medti_components.networks.embedding_files.tensor_archive import MAX_OPCODES, read_tensor_archive

ROWS = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
PATH = Path("word.pt")


def refusal(content):
    with pytest.raises(EmbeddingError) as caught:
        read_tensor_archive(content, PATH)
    message = str(caught.value)
    assert message.startswith("'word.pt' ")
    assert "\n" not in message
    return message


def with_pickle(pickle):
    """Return an archive with the given pickle beside the rows."""
    return archive({"data.pkl": pickle, "data/0": ROWS.numpy().tobytes(), "version": b"3\n"})


def test_tensors_text_and_numbers_come_back(tmp_path):
    value = {"a": ROWS, "b": torch.nn.Parameter(ROWS.half()), "c": {"*": 265}, "d": None, "e": [1.5, True], "f": 2**40}
    read = read_tensor_archive(torch_file(value), PATH)
    assert torch.equal(read["a"].tensor(), ROWS)
    assert torch.equal(read["b"].tensor(), ROWS.half())
    assert {key: read[key] for key in "cdef"} == {key: value[key] for key in "cdef"}


def test_as_many_slots_as_a_text_encoder_takes_are_within_the_limits():
    slots = {f"a_{number}": torch.nn.Parameter(torch.zeros(1024)) for number in range(75)}
    assert len(read_tensor_archive(torch_file(slots), PATH)) == 75


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Call(os.system, "touch canary"), "posix.system"),
        (Call(builtins.eval, "open('canary', 'w')"), "__builtin__.eval"),
        (Call(builtins.bytearray, 10**12), "__builtin__.bytearray"),
        (Call(torch.Tensor, 10**6, 10**6), "torch.Tensor"),
        (Call(torch.load, "other.pt"), "torch.serialization.load"),
        (torch.nn.ModuleDict(), "torch.nn.modules.container.ModuleDict"),
    ],
)
def test_a_pickle_that_names_anything_but_tensors_is_refused_and_nothing_runs(tmp_path, monkeypatch, value, named):
    monkeypatch.chdir(tmp_path)
    message = refusal(with_pickle(pickle_of({"a": value})))
    assert message == f"'word.pt' holds a pickle that names '{named}': only tensors are read, nothing is run"
    assert list(tmp_path.iterdir()) == []


def test_instructions_beyond_plain_values_are_refused():
    with_state = OrderedDict(a=1)
    with_state.note = "a"
    for pickle, name in (
        (pickle_of({"a": with_state}), "BUILD"),
        (pickle_of({"a": {1}}, protocol=4), "PROTO 4"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
        (b"(S'touch canary'\nios\nsystem\n.", "STRING"),
        (b"\x80\x02(X\x01\x00\x00\x00aios\nsystem\n.", "INST os system"),
    ):
        assert f"holds a pickle with the instruction {name}" in refusal(with_pickle(pickle))


def test_a_value_that_holds_itself_many_times_is_refused():
    value = ()
    for _ in range(40):
        value = (value, value)
    assert "holds a pickle that uses a value twice" in refusal(with_pickle(pickle_of({"a": value})))
    endless = []
    endless.append(endless)
    assert "holds a pickle that uses a value twice" in refusal(with_pickle(pickle_of({"a": endless})))


def test_depth_is_bounded():
    pickle = b"\x80\x02}" + b")" + b"\x85" * MAX_OPCODES + b"Ns."
    assert "holds a pickle of more than 16384 instructions" in refusal(with_pickle(pickle))


@pytest.mark.parametrize("pickle", [b"", b"\x80\x02", b"\x80\x02}", b"\x80\x02s.", b"\x80\x02h\x05.", b"\x80\x02NNR."])
def test_a_pickle_that_ends_or_fails_halfway_is_refused(pickle):
    assert "holds a pickle that " in refusal(with_pickle(pickle))


def test_a_tensor_larger_than_its_record_is_refused():
    content = samples(ROWS)["diffusers, pickle"]
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        pickle = next(file.read(name) for name in file.namelist() if name.endswith("data.pkl"))
    assert torch.equal(read_tensor_archive(with_pickle(pickle), PATH)["<nodule>"].tensor(), ROWS)
    larger = pickle.replace(b"K\x03K\x08\x86", b"K\xffK\x08\x86")
    assert larger != pickle
    assert "holds a pickle that can't be read (Trying to resize storage" in refusal(with_pickle(larger))


@pytest.mark.parametrize(
    ("value", "kind"),
    [([ROWS], "list"), (ROWS, "Tensor"), ({1: ROWS}, "dict"), (OrderedDict({(): ROWS}), "OrderedDict")],
)
def test_what_is_no_dictionary_by_name_is_refused(value, kind):
    assert refusal(torch_file(value)) == f"'word.pt' must hold a dictionary of tensors by name, got {kind}"


def test_zip_archives_that_pytorch_does_not_write_are_refused():
    records = {"data.pkl": pickle_of({}), "version": b"3\n"}
    bomb = archive({**records, "data/0": bytes(10**7)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 20_000
    assert "is a compressed zip archive, which PyTorch never writes" in refusal(bomb)
    assert "is a zip archive, but none of PyTorch's (it holds 'archive/notes.txt')" in refusal(
        archive({"notes.txt": b""})
    )
    many = {**records, **{f"data/{number}": b"" for number in range(300)}}
    assert "must hold at most 256 records, each once, got 302 ('archive/data.pkl'" in refusal(archive(many))
    assert "none of PyTorch's" in refusal(archive({"data.pkl": b"", "b/data.pkl": b""}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_records_that_are_there_twice_or_overlap_are_refused():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for value in (1, 2):
            file.writestr("archive/data.pkl", pickle_of({"a": value}))
    assert "each once, got 2 ('archive/data.pkl', 'archive/data.pkl')" in refusal(stream.getvalue())
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("archive/data.pkl", pickle_of({}))
        file.writestr("archive/data/0", bytes(1000))
        for number in range(1, 9):
            again = zipfile.ZipInfo(f"archive/data/{number}")
            for name in ("header_offset", "CRC", "file_size", "compress_size", "external_attr"):
                setattr(again, name, getattr(file.infolist()[1], name))
            file.filelist.append(again)
            file._didModify = True
    assert "is a zip archive whose records overlap" in refusal(stream.getvalue())


def test_a_damaged_archive_is_refused():
    content = samples(ROWS)["web UI, pickle"]
    assert "is not a whole PyTorch file (File is not a zip file)" in refusal(content[: len(content) // 2])
    start = content.index(ROWS.numpy().tobytes()[:8])
    flipped = content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :]
    assert "is not a whole PyTorch file (Bad CRC-32 for file" in refusal(flipped)
