# SPDX-License-Identifier: Apache-2.0
"""Embedding files of any tool, told apart by their content, and files written as another tool reads them."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medti_components.errors import EmbeddingError
from medti_components.files import save_tensors_atomically
from medti_components.networks.embedding_files.embedding_file import (
    IMPORT_IT,
    StoredTensor,
    ensure_concept_token,
    ensure_rows,
    listed,
    printable,
    read_content,
    stored_tensors,
)
from medti_components.networks.embedding_files.embedding_picture import read_embedding_picture, save_embedding_picture
from medti_components.networks.embedding_files.tensor_archive import read_tensor_archive

if TYPE_CHECKING:
    from torch import Tensor

ZIP_MAGIC = b"PK\x03\x04"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PICKLE_MAGIC = b"\x80"
SDXL_KEYS = {"clip_l", "clip_g", "text_encoders_0", "text_encoders_1"}
NAMELESS_LAYOUTS = {"emb_params": "kohya", "emp_params": "OneTrainer"}
BEHIND_ENCODER = "emp_params_out"  # OneTrainer's vectors that stand behind the text encoder
MAX_VECTORS = 75  # positions of the text encoders of Stable Diffusion 1 and 2


@dataclass(frozen=True)
class ForeignEmbedding:
    """One word as another tool, or this one, left it.

    Attributes:
        layout: the tool whose layout it is: 'medti', 'diffusers', 'web UI', 'kohya' or 'OneTrainer'.
        container: 'safetensors', 'pickle' or 'PNG'.
        name: the word as the file has it, whatever its form; None where it has none.
        stored: its vectors (n, width), finite, in the file's own precision (float32 from a PNG).
        metadata: provenance in our own keys, and what else a safetensors file says; strings only.
        path: the file.
        sha256: hash of the file's bytes, hex.
        note: what else the file holds that is not read, "" for nothing.
    """

    layout: str
    container: str
    name: str | None
    stored: StoredTensor
    metadata: Mapping[str, str]
    path: Path
    sha256: str
    note: str = ""

    @property
    def rows(self) -> "Tensor":
        """The vectors as a tensor of PyTorch, in the file's own precision."""
        return self.stored.tensor()


def load_foreign_embedding(path: str | Path, allow_pickle: bool = False, key: str = "") -> ForeignEmbedding:
    """Read one word from a file of any tool.

    Args:
        path: the file; its ending does not matter.
        allow_pickle: read the zip archives of ``torch.save`` too (``.pt``, ``.bin``); nothing in them is ever run.
        key: name of the tensor that holds the word, where no tool's layout says so.

    Raises:
        EmbeddingError: the file is missing, too large, damaged, of no known kind, a pickle that is not allowed or holds
            anything but tensors, a pair for SDXL, holds no finite rows or too many, or has a tensor of unknown name.
    """
    path = Path(path)
    content = read_content(path)
    metadata: Mapping[str, str] = {}
    values: Mapping[str, Any]
    if content.startswith(ZIP_MAGIC):
        if not allow_pickle:
            raise EmbeddingError(f"'{path}' is a pickle, which is read on import alone: {IMPORT_IT}")
        container, values = "pickle", read_tensor_archive(content, path)
    elif content.startswith(PNG_MAGIC):
        container, values = "PNG", read_embedding_picture(content, path)
    elif content[8:9] == b"{":
        container, (values, metadata) = "safetensors", stored_tensors(path)
    elif content.startswith(PICKLE_MAGIC):
        raise EmbeddingError(f"'{path}' is a pickle outside PyTorch's zip archive, which is never opened")
    else:
        raise EmbeddingError(
            f"'{path}' must be a safetensors file, a PyTorch file or a PNG picture, got neither: is it damaged?"
        )
    what = f"'{path}'"
    if "string_to_param" in values:
        layout, name, rows = "web UI", values.get("name"), _rows_of_web_ui(values["string_to_param"], what)
        metadata = _provenance_of_web_ui(values)
    elif key:
        if key not in values:
            raise EmbeddingError(f"{what} has no tensor '{key}': give one of {listed(sorted(values))} by --key")
        layout, name, rows = "tensor by name", key, _as_rows(values[key], what)
    else:
        layout, name, rows = _rows_by_name({**values}, metadata, what)
    if (number := len(rows.numbers)) > MAX_VECTORS:
        raise EmbeddingError(
            f"{what} must hold at most {MAX_VECTORS} vectors, as many as a text encoder takes, got {number}: is it an "
            "embedding file?"
        )
    note = ""
    if BEHIND_ENCODER in values and BEHIND_ENCODER not in (key, name):
        note = f"'{BEHIND_ENCODER}' is left out: its vectors stand behind the text encoder, where no word is read"
    provenance = {key: value for key, value in metadata.items() if key != "token"}
    shown = printable(name) if isinstance(name, str) else None
    sha256 = hashlib.sha256(content).hexdigest()
    return ForeignEmbedding(layout, container, shown, rows, provenance, path, sha256, note)


def _rows_of_web_ui(parameters: Any, what: str) -> StoredTensor:
    if not isinstance(parameters, dict) or len(parameters) != 1:
        number = len(parameters) if isinstance(parameters, dict) else type(parameters).__name__
        raise EmbeddingError(f"{what} must hold one tensor in 'string_to_param', got {number}")
    return _as_rows(next(iter(parameters.values())), what)


def _rows_by_name(
    values: dict[str, Any], metadata: Mapping[str, str], what: str
) -> tuple[str, str | None, StoredTensor]:
    if SDXL_KEYS & values.keys():
        raise EmbeddingError(
            f"{what} is an embedding for SDXL, which has two text encoders ({listed(sorted(values))}): "
            "give one for Stable Diffusion 1 or 2"
        )
    if BEHIND_ENCODER in values:
        if "emp_params" not in values:
            raise EmbeddingError(
                f"{what} holds '{BEHIND_ENCODER}', OneTrainer's vectors behind the text encoder, and no word: save the "
                "embedding with output embeddings off"
            )
        del values[BEHIND_ENCODER]
    if len(values) == 1 and (key := next(iter(values))) in NAMELESS_LAYOUTS:
        return NAMELESS_LAYOUTS[key], metadata.get("token"), _as_rows(values[key], what)
    name = min(values, key=len, default="")
    slots = [name, *(f"{name}_{number}" for number in range(1, len(values)))]
    if not values or set(slots) != values.keys():
        raise EmbeddingError(
            f"{what} must hold the vectors of one word, got {len(values)} entries ({listed(list(values))}): "
            "is it an embedding file?"
        )
    rows = [_as_rows(values[slot], what) for slot in slots]
    if len({(row.numbers.shape[1], row.precision) for row in rows}) != 1:
        raise EmbeddingError(
            f"{what} must hold slots of one width, got {listed([str(row.numbers.shape[1]) for row in rows])}"
        )
    joined = StoredTensor(np.concatenate([row.numbers for row in rows]), rows[0].precision)
    if not BRACKETED.fullmatch(name):
        raise EmbeddingError(
            f"{what} holds '{printable(name)}', which is neither a word in angle brackets nor the name of a tool's "
            f"tensor: if it is the word, say so by --key '{printable(name)}'"
        )
    return "medti" if "medti_version" in metadata else "diffusers", name, joined


def _as_rows(value: Any, what: str) -> StoredTensor:
    if not isinstance(value, StoredTensor):
        raise EmbeddingError(f"{what} must hold tensors, got {type(value).__name__}: is it an embedding file?")
    rows = StoredTensor(value.numbers[None], value.precision) if value.numbers.ndim == 1 else value
    ensure_rows(rows, what)
    return rows


def _provenance_of_web_ui(values: Mapping[str, Any]) -> dict[str, str]:
    facts = {
        "base_model": values.get("sd_checkpoint_name"),
        "sd_checkpoint": values.get("sd_checkpoint"),
        "steps": values.get("step"),
    }
    known = {key: str(value) for key, value in facts.items() if isinstance(value, str | int)}
    own = values.get("metadata")  # of our own pictures
    known |= {key: value for key, value in own.items() if isinstance(value, str)} if isinstance(own, dict) else {}
    return {_storable(key): _storable(value) for key, value in known.items()}


def _storable(text: str) -> str:
    """Return ``text`` without the half characters that JSON and pickle can spell and UTF-8 can't."""
    return text.encode("utf-8", "replace").decode("utf-8")


BRACKETED = re.compile(r"<[^<>]+>")
FILE_ENDINGS = {"diffusers": ".safetensors", "webui": ".safetensors", "kohya": ".safetensors", "png": ".png"}


def export_embedding(path: str | Path, layout: str, token: str, rows: "Tensor", metadata: Mapping[str, str]) -> None:
    """Write ``rows`` (n, width) as another tool reads them, in the precision that they have (float32 in a PNG).

    - ``diffusers``: one tensor, its key the token. ``load_textual_inversion`` takes the token from it.
    - ``webui``: the same; the web UI loads safetensors and takes the file's name, without its ending, as the word.
    - ``kohya``: one tensor ``emb_params``; the token goes into the metadata.
    - ``png``: the web UI's picture with a text chunk; the web UI takes the word from within.

    Args:
        path: the file; tools go by its ending, which must be that of the layout.
        layout: one of the above.
        token: the word.
        rows: its vectors.
        metadata: provenance; goes along in every layout.

    Raises:
        EmbeddingError: unknown layout, another file ending, a bad token or rows.
        OutputError: the file can't be written.
    """
    path = Path(path)
    if layout not in FILE_ENDINGS:
        raise EmbeddingError(f"format must be one of {', '.join(FILE_ENDINGS)}, got '{layout}'")
    if path.suffix.lower() != FILE_ENDINGS[layout]:
        raise EmbeddingError(
            f"output_file must end in {FILE_ENDINGS[layout]} for format '{layout}', got '{path}': "
            "tools go by the ending, and a pickle is never written"
        )
    ensure_concept_token(token)
    ensure_rows(StoredTensor.of(rows), f"embedding of '{token}'")
    if layout == "png":
        steps = metadata.get("steps", "")
        facts = {
            "name": token,
            "step": int(steps) if steps.isdecimal() else None,
            "sd_checkpoint": metadata.get("sd_checkpoint"),
            "sd_checkpoint_name": metadata.get("base_model"),
            "metadata": dict(metadata),
        }
        save_embedding_picture(path, rows, facts)
    elif layout == "kohya":
        save_tensors_atomically(path, {"emb_params": rows}, {**metadata, "token": token})
    else:
        save_tensors_atomically(path, {token: rows}, metadata)
