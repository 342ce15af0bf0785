# SPDX-License-Identifier: Apache-2.0
"""Seeded ways to damage an embedding file, or to make it do harm when it is opened carelessly."""

import base64
import builtins
import importlib
import io
import json
import os
import pickle
import struct
import subprocess
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from random import Random

import torch
from embedding_samples import Call, archive, pickle_of, picture
from PIL import Image

Mutation = Callable[[bytes, Random, Path], bytes]
EXTREMES = (0, 1, 7, 8, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL", "C64", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F4", "X")
PICKLE_SNIPPETS = (
    *(b"(", b")", b"}", b"]", b"t", b"\x85", b"\x86", b"\x87", b"R", b"Q", b"b", b"\x81", b"s", b"u", b"a", b"e", b"."),
    *(
        b"N",
        b"\x88",
        b"K\xff",
        b"M\xff\xff",
        b"J\xff\xff\xff\x7f",
        b"J\xff\xff\xff\xff",
        b"\x8a\x09" + b"\xff" * 8 + b"\x7f",
    ),
    *(
        b"h\x00",
        b"h\x05",
        b"q\x00",
        b"X\xff\xff\xff\xff",
        b"X\x01\x00\x00\x00a",
        b"\x80\x04",
        b"0",
        b"2",
        b"\x93",
        b"\x82\x01",
    ),
    *(b"cos\nsystem\n", b"cbuiltins\neval\n", b"cbuiltins\nbytearray\n", b"ctorch\nTensor\n", b"ctorch\nLongStorage\n"),
    *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n", b"ccollections\nOrderedDict\n"),
)


def container_of(content: bytes) -> str:
    """Return 'safetensors', 'pickle' or 'PNG'."""
    return "pickle" if content.startswith(b"PK") else "PNG" if content.startswith(b"\x89PNG") else "safetensors"


def flip_bits(content: bytes, random: Random, canary: Path) -> bytes:
    """Flip up to eight bits, half of the time near the start, where headers are."""
    changed = bytearray(content)
    end = len(changed) if random.random() < 0.5 else min(len(changed), 512)
    for _ in range(random.randint(1, 8)):
        changed[random.randrange(end)] ^= 1 << random.randrange(8)
    return bytes(changed)


def truncate(content: bytes, random: Random, canary: Path) -> bytes:
    """Cut the file off, at either end."""
    place = random.randrange(len(content))
    return content[:place] if random.random() < 0.8 else content[place:]


def splice(content: bytes, random: Random, canary: Path) -> bytes:
    """Remove, repeat, move or randomise a block."""
    first, second, third = sorted(random.randrange(len(content) + 1) for _ in range(3))
    block = content[first:second]
    return random.choice(
        (
            content[:first] + content[second:],
            content[:second] + block + content[second:],
            content[:first] + content[second:third] + block + content[third:],
            content[:first] + random.randbytes(min(len(block), 64)) + content[second:],
            content + content[first:],
        )
    )


def edit_length(content: bytes, random: Random, canary: Path) -> bytes:
    """Put an extreme number where a length, count or offset may be."""
    form = random.choice(("<H", "<I", ">I", "<Q"))
    size = struct.calcsize(form)
    number = random.choice((*EXTREMES, len(content), len(content) - 8)) % 256**size
    start = {"safetensors": 0, "PNG": 8, "pickle": content.rfind(b"PK\x05\x06")}[container_of(content)]
    places = (start, start + random.randrange(64), random.randrange(len(content)))
    place = min(random.choice(places), max(len(content) - size, 0))
    return content[:place] + struct.pack(form, number) + content[place + size :]


def edit_header(content: bytes, random: Random, canary: Path) -> bytes:
    """Change types, shapes, offsets or keys in a safetensors header, and keep its length right."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    name = random.choice([key for key in header if key != "__metadata__"])
    entry = header[name]
    match random.randrange(8):
        case 0:
            entry["dtype"] = random.choice(DTYPES)
        case 1:
            entry["shape"] = [random.choice((*EXTREMES[:8], -1, 4, 16)) for _ in range(random.randrange(5))]
        case 2:
            entry["data_offsets"] = sorted(random.choice((*EXTREMES, -1, 64, 128, 256)) for _ in range(2))
        case 3:
            entry["dtype"] = random.choice(DTYPES)
            entry["shape"] = [entry["data_offsets"][1] - entry["data_offsets"][0]]
        case 4:
            header[random.choice(("clip_l", "emb_params", "\x1b[2J", "", "a" * 10_000, "\n"))] = entry
        case 5:
            header["__metadata__"] = random.choice(
                ({"a": "\x1b]0;\n" * 50}, {"token": "\x00"}, {"a": 1}, [], None, "a")
            )
        case 6:
            header[random.choice(("<b>\u202e", "*", "string_to_param", name + "_2"))] = header.pop(name)
        case _:
            del header[name]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def damage_numbers(content: bytes, random: Random, canary: Path) -> bytes:
    """Write not-a-number, infinities or noise into the tensors of a safetensors file."""
    (size,) = struct.unpack("<Q", content[:8])
    body = bytearray(content[8 + size :])
    for _ in range(random.randint(1, 4)):
        place = random.randrange(0, len(body), 4)
        body[place : place + 4] = random.choice(
            (b"\xff\xff\xff\xff", b"\x00\x00\x80\x7f", b"\x00\x7c\x00\x7c", random.randbytes(4))
        )
    return content[: 8 + size] + bytes(body[: len(content) - 8 - size])


def records_of(content: bytes) -> dict[str, bytes]:
    """Return the records of a PyTorch file by their name in its folder."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name.partition("/")[2]: file.read(name) for name in file.namelist()}


def edit_pickle(content: bytes, random: Random, canary: Path) -> bytes:
    """Change the pickle within a PyTorch file, whose checksums are right again."""
    records = records_of(content)
    text = bytearray(records["data.pkl"])
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(text))
        match random.randrange(5):
            case 0:
                text[place] ^= 1 << random.randrange(8)
            case 1:
                del text[place : place + random.randint(1, 8)]
            case 2:
                text[place:place] = random.choice(PICKLE_SNIPPETS)
            case 3:
                text[place : place + 4] = struct.pack("<I", random.choice(EXTREMES) % 2**32)
            case _:
                text[place:place] = text[random.randrange(len(text)) :][: random.randint(1, 40)]
        text = text or bytearray(b".")
    records["data.pkl"] = bytes(text)
    return archive(records)


def hostile_pickle(content: bytes, random: Random, canary: Path) -> bytes:
    """Put a pickle that runs code, or takes all memory or time, into a PyTorch file or in its place."""
    touch = f"touch {canary}"
    nested: object = ()
    for _ in range(60):
        nested = (nested, nested)
    value = random.choice(
        (
            Call(os.system, touch),
            Call(subprocess.Popen, ["touch", str(canary)]),
            Call(builtins.eval, f"open({str(canary)!r}, 'w').close()"),
            Call(builtins.exec, f"open({str(canary)!r}, 'w').close()"),
            Call(importlib.import_module, "this"),
            Call(builtins.bytearray, 2**36),
            Call(torch.Tensor, 2**20, 2**20),
            Call(torch.load, str(canary)),
            Call(OrderedDict, [(1, Call(os.system, touch))]),
            Call(torch._utils._rebuild_tensor_v2, Call(os.system, touch), 0, (2, 2), (2, 1), False, OrderedDict()),
            Call(
                torch._utils._rebuild_parameter, Call(builtins.eval, f"open({str(canary)!r}, 'w')"), True, OrderedDict()
            ),
            nested,
            torch.nn.Linear(2, 2),
        )
    )
    protocol = random.choice((0, 1, 2, 2, 2, 3, 4, 5))
    text = pickle_of({"string_to_param": {"*": value}}, protocol)
    if random.random() < 0.2:
        return text
    records = records_of(content)
    if random.random() < 0.3:  # in the midst of a good one
        good = records["data.pkl"]
        place = random.randrange(2, len(good))
        text = good[:place] + pickle.dumps(value, 2)[2:-1] + good[place:]
    where = random.choice(("data.pkl", "data.pkl", "data.pkl", "data/0", "constants.pkl", "version", "code/a.py"))
    return archive({**records, where: text})


def harmful_archive(content: bytes, random: Random, canary: Path) -> bytes:
    """Nest, compress, multiply, rename or cross the records of a PyTorch file."""
    records = records_of(content)
    names = sorted(records)
    match random.randrange(8):
        case 0:
            return archive({**records, random.choice(names): content})
        case 1:
            return archive({**records, "data/0": bytes(random.choice((10**5, 10**7)))}, zipfile.ZIP_DEFLATED)
        case 2:
            return archive({**records, **{f"data/{number}": b"" for number in range(random.choice((10, 1000)))}})
        case 3:
            name = random.choice(names)
            return archive(
                {**records, random.choice(("../../a", "/a", "data.pkl/", "a\\b", "data/../data.pkl")): records[name]}
            )
        case 4:
            first, second = random.choice(names), random.choice(names)
            return archive({**records, first: records[second], second: records[first]})
        case 5:
            return archive({name: record for name, record in records.items() if name != random.choice(names)})
        case 6:
            return content + archive({"data.pkl": pickle_of({"a": Call(os.system, f"touch {canary}")})})
        case _:
            record = random.choice(names)
            return archive({**records, record: records[record][: random.randrange(len(records[record]) + 1)]})


def edit_text(content: bytes, random: Random, canary: Path) -> bytes:
    """Change the JSON within a picture, whose checksums are right again."""
    with Image.open(io.BytesIO(content)) as shown:
        encoded = shown.info["sd-ti-embedding"]
    text = bytearray(base64.b64decode(encoded))
    match random.randrange(6):
        case 0:
            return picture(encoded[: random.randrange(len(encoded))])
        case 1:
            return picture(encoded.replace(random.choice(encoded), random.choice("=!\x00é")))
        case 2:
            place = text.index(b"[[") + 2
            text[place:place] = random.choice(
                (b"NaN, ", b"1e999, ", b"-Infinity, ", b"1" + b"0" * 400 + b", ", b"[], ", b"null, ")
            )
        case 3:
            text = bytearray(b'{"string_to_param": ' + random.choice((b"[" * 10**5, b'{"a":' * 10**4, b"1" * 10**5)))
        case 4:
            keys = [b'"TORCHTENSOR"', b'"string_to_param"', b'"name"', b'"*"', b'"step"']
            text = bytearray(bytes(text).replace(random.choice(keys), random.choice(keys)))
        case _:
            for _ in range(random.randint(1, 4)):
                text[random.randrange(min(len(text), 400))] = random.choice(b'{}[]",:0-e.\\u\x00\xff')
    return picture(base64.b64encode(text).decode())


def harmful_chunk(content: bytes, random: Random, canary: Path) -> bytes:
    """Put a chunk that grows when it is decompressed, or a picture of absurd size, into a PNG."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    bomb = zlib.compress(bytes(random.choice((10**5, 10**7))))
    size = random.choice(EXTREMES) % 2**31
    added = random.choice(
        (
            chunk(b"zTXt", b"sd-ti-embedding\0\0" + bomb),
            chunk(b"iTXt", b"sd-ti-embedding\0\1\0\0\0" + bomb),
            chunk(b"iCCP", b"a\0\0" + bomb),
            chunk(b"tEXt", b"sd-ti-embedding\0" + random.randbytes(40)),
            chunk(b"tEXt", b"sd-ti-embedding"),
            chunk(b"eXIf", random.randbytes(40)),
            chunk(b"acTL", struct.pack(">II", size, 0)),
            chunk(random.randbytes(4), random.randbytes(8)),
        )
    )
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, random.randrange(2)))
    return content[:8] + (header if random.random() < 0.3 else content[8:33]) + added + content[33:]


ANYWHERE: dict[str, Mutation] = {
    "flip bits": flip_bits,
    "truncate": truncate,
    "splice": splice,
    "edit length": edit_length,
}
MUTATIONS: dict[str, dict[str, Mutation]] = {
    "safetensors": {**ANYWHERE, "edit header": edit_header, "damage numbers": damage_numbers},
    "pickle": {
        **ANYWHERE,
        "edit pickle": edit_pickle,
        "hostile pickle": hostile_pickle,
        "harmful archive": harmful_archive,
    },
    "PNG": {**ANYWHERE, "edit text": edit_text, "harmful chunk": harmful_chunk},
}
