# SPDX-License-Identifier: Apache-2.0
"""Reading what ``torch.save`` wrote, a zip archive with a pickle in it, where only tensors and text are let in.

PyTorch is imported where it opens one: no other file needs it.
"""

import io
import math
import pickletools
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medti_components.errors import EmbeddingError
from medti_components.networks.embedding_files.embedding_file import StoredTensor, listed, one_line, printable

MAX_RECORDS = 256
MAX_OPCODES = 16_384  # 75 slots take about 2,000; bounds how deep values can be nested
GLOBALS = {
    "collections OrderedDict",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {kind}Storage" for kind in ("BFloat16", "Double", "Float", "Half", "Int", "Long")),
}
PARAMETER_DICT = "torch.nn.modules.container ParameterDict"
OPCODES = {
    *("PROTO", "STOP", "MARK", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "GLOBAL", "REDUCE", "BINPERSID"),
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"),
    *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
}
PUTS = {"BINPUT", "LONG_BINPUT"}
GETS = {"BINGET", "LONG_BINGET"}
SHAREABLE = {"BINUNICODE", "GLOBAL"} | GETS


def read_tensor_archive(content: bytes, path: Path) -> Mapping[str, Any]:
    """Return the dictionary in a file of ``torch.save``.

    The pickle is checked before ``torch.load(weights_only=True)`` opens it. PyTorch refuses foreign code, but a few
    bytes can make it take all memory or all time. The archive is rewritten with the checked records, so that PyTorch
    can't read others than those.

    Args:
        content: the file's bytes.
        path: the file, for messages.

    Raises:
        EmbeddingError: the archive is damaged or compressed, or its pickle is anything but a dictionary of tensors,
            text and numbers, or a tensor claims more numbers than there are.
    """
    import torch

    what = f"'{path}'"
    try:
        records = _records(content, what)
    except EmbeddingError:
        raise
    except Exception as error:  # a damaged archive makes the library raise a dozen kinds
        raise EmbeddingError(f"{what} is not a whole PyTorch file ({one_line(error)}): copy it again") from error
    try:
        _ensure_only_tensors(records["data.pkl"], what)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a damaged pickle makes PyTorch remark
            value = torch.load(_archive_of(records), map_location="cpu", weights_only=True)
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise EmbeddingError(f"{what} must hold a dictionary of tensors by name, got {type(value).__name__}")
        return {key: _stored(each, what) for key, each in value.items()}
    except EmbeddingError:
        raise
    except Exception as error:  # a pickle can name any record or shape, and so make PyTorch raise anything
        raise EmbeddingError(f"{what} holds a pickle that can't be read ({one_line(error)}): copy it again") from error


def _stored(value: Any, what: str) -> Any:
    """Return a value with tensors of a file in place of those of PyTorch."""
    import torch

    if isinstance(value, dict):
        return {key: _stored(each, what) for key, each in value.items()}
    if not isinstance(value, torch.Tensor):
        return value
    if math.prod(value.shape) * value.element_size() > value.untyped_storage().nbytes():
        raise EmbeddingError(f"{what} holds a tensor {tuple(value.shape)} without as many numbers: it is not read")
    return StoredTensor.of(value)


def _records(content: bytes, what: str) -> dict[str, bytes]:
    """Return the archive's records that PyTorch needs, by their name below its root folder."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if len(entries) > MAX_RECORDS or len(set(names)) != len(names):
            raise EmbeddingError(
                f"{what} must hold at most {MAX_RECORDS} records, each once, got {len(names)} ({listed(names)})"
            )
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise EmbeddingError(f"{what} is a compressed zip archive, which PyTorch never writes: it is not opened")
        if sum(entry.file_size for entry in entries) > len(content):
            raise EmbeddingError(f"{what} is a zip archive whose records overlap: it is not opened")
        pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise EmbeddingError(
                f"{what} is a zip archive, but none of PyTorch's (it holds {listed(names)}): give an embedding file"
            )
        root = pickles[0].removesuffix("data.pkl")
        wanted = [name for name in names if name.startswith((f"{root}data", f"{root}version", f"{root}byteorder"))]
        return {name.removeprefix(root): archive.read(name) for name in wanted}


def _archive_of(records: Mapping[str, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, record in records.items():
            archive.writestr(f"archive/{name}", record)
    stream.seek(0)
    return stream


def _ensure_only_tensors(pickle: bytes, what: str) -> None:
    """Check each instruction: known ones alone, no name but those of tensors, nothing shared but text and names.

    Without sharing, the value is a tree no larger than the pickle: there is no list of lists of lists ... of the same
    one, which takes no bytes to write and for ever to compare.
    """
    shareable: set[object] = set()
    produced_by = ""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
        name = opcode.name
        if count >= MAX_OPCODES:
            raise EmbeddingError(
                f"{what} holds a pickle of more than {MAX_OPCODES} instructions, more than any embedding takes"
            )
        if name == "GLOBAL" and argument == PARAMETER_DICT:
            raise EmbeddingError(
                f"{what} holds a ParameterDict, as the first code of textual inversion saved it, which only running a "
                "program can open. If you trust the file, save it anew where it was made: "
                "content = torch.load(FILE, weights_only=False); content['string_to_param'] = "
                "dict(content['string_to_param'].items()); torch.save(content, NEW_FILE)"
            )
        if name == "GLOBAL" and argument not in GLOBALS:
            named = printable(argument).replace(" ", ".")
            raise EmbeddingError(f"{what} holds a pickle that names '{named}': only tensors are read, nothing is run")
        if name not in OPCODES or (name == "PROTO" and argument != 2):
            raise EmbeddingError(
                f"{what} holds a pickle with the instruction {name} {printable(argument)}: only tensors are read"
            )
        if name in GETS and argument not in shareable:
            raise EmbeddingError(f"{what} holds a pickle that uses a value twice: only plain tensors are read")
        if name in PUTS:
            (shareable.add if produced_by in SHAREABLE else shareable.discard)(argument)
        else:
            produced_by = name
