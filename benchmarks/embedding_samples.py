# SPDX-License-Identifier: Apache-2.0
"""Embedding files as each tool writes them, as bytes: what the readers are tried on."""

import base64
import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image, PngImagePlugin
from safetensors.torch import save
from torch import Tensor

WEB_UI_FACTS = {"name": "nodule-500", "step": 499, "sd_checkpoint": "09dd2ae4", "sd_checkpoint_name": "512-base-ema"}


def torch_file(value: Any, **settings: Any) -> bytes:
    """Return what ``torch.save`` writes."""
    stream = io.BytesIO()
    torch.save(value, stream, **settings)
    return stream.getvalue()


def picture(text: str | None) -> bytes:
    """Return a small PNG with ``text`` in the web UI's chunk."""
    stream = io.BytesIO()
    info = PngImagePlugin.PngInfo()
    if text is not None:
        info.add_text("sd-ti-embedding", text)
    Image.new("RGB", (8, 8)).save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def picture_text(value: Any) -> str:
    """Return ``value`` as the web UI puts it into a text chunk."""
    return base64.b64encode(json.dumps(value).encode()).decode()


def web_ui(rows: Any) -> dict[str, Any]:
    """Return the web UI's dictionary."""
    return {"string_to_token": {"*": 265}, "string_to_param": {"*": rows}, **WEB_UI_FACTS}


def samples(rows: Tensor) -> dict[str, bytes]:
    """Return files that hold ``rows`` (n, width), by layout and container."""
    slots = {"<nodule>" + (f"_{number}" if number else ""): row for number, row in enumerate(rows)}
    return {
        "medti, safetensors": save({"<nodule>": rows}, {"medti_version": "0.1.0"}),
        "diffusers, safetensors": save({"<nodule>": rows}),
        "diffusers, pickle": torch_file({"<nodule>": rows}),
        "diffusers slots, safetensors": save({name: row.clone() for name, row in slots.items()}),
        "diffusers slots, pickle": torch_file(slots),
        "kohya, safetensors": save({"emb_params": rows}),
        "kohya, pickle": torch_file({"emb_params": rows}),
        "OneTrainer, safetensors": save({"emp_params": rows}),
        "web UI, pickle": torch_file(web_ui(torch.nn.Parameter(rows))),
        "web UI, PNG": picture(picture_text(web_ui({"TORCHTENSOR": rows.tolist()}))),
    }


class Call:
    """An object whose pickle calls ``function`` when it is opened."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def pickle_of(value: Any, protocol: int = 2) -> bytes:
    """Return the pickle of ``value``."""
    return pickle.dumps(value, protocol)


def archive(records: Mapping[str, bytes], compression: int = 0) -> bytes:
    """Return a zip file like PyTorch's, with ``records`` in its folder."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for name, record in records.items():
            file.writestr(zipfile.ZipInfo(f"archive/{name}"), record, compression)  # without the time of day
    return stream.getvalue()
