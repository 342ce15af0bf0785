# SPDX-License-Identifier: Apache-2.0
"""Embeddings within PNG pictures, as the web UI has them: base64 of JSON in the text chunk ``sd-ti-embedding``.

The web UI's own pictures carry the same numbers a second time, in the low bits of their borders, for sites that strip
text chunks; these are not read.
"""

import base64
import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, PngImagePlugin

from medti_components.errors import EmbeddingError
from medti_components.files import write_atomically
from medti_components.networks.embedding_files.embedding_file import StoredTensor, one_line

if TYPE_CHECKING:
    from torch import Tensor

TEXT_CHUNK = "sd-ti-embedding"
TENSOR_KEY = "TORCHTENSOR"
PICTURE_SIZE = 256


def read_embedding_picture(content: bytes, path: Path) -> Mapping[str, Any]:
    """Return the dictionary in a picture's text chunk, its tensors as float32. No pixel is decoded.

    Args:
        content: the file's bytes.
        path: the file, for messages.

    Raises:
        EmbeddingError: the picture is damaged or has no such chunk, or the chunk is no JSON object.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                text = picture.info.get(TEXT_CHUNK)
                picture.verify()
    except Exception as error:  # a damaged picture makes the library raise a dozen kinds, SyntaxError among them
        raise EmbeddingError(f"'{path}' is not a whole PNG picture ({one_line(error)}): copy it again") from error
    if not isinstance(text, str):
        raise EmbeddingError(
            f"'{path}' is a picture without the text chunk '{TEXT_CHUNK}': many sites strip it, take the original file"
        )
    try:
        value = json.loads(base64.b64decode(text), object_hook=_with_tensor)
    except (ValueError, TypeError, OverflowError, RecursionError, RuntimeError) as error:
        raise EmbeddingError(
            f"'{path}' has a text chunk that can't be read ({one_line(error)}): copy it again"
        ) from error
    if not isinstance(value, dict):
        raise EmbeddingError(f"'{path}' must have a JSON object as its text chunk, got {type(value).__name__}")
    return value


def save_embedding_picture(path: str | Path, rows: "Tensor", facts: Mapping[str, Any]) -> None:
    """Write ``rows`` (n, width) into a picture that shows them in grey levels, a row per vector.

    JSON gives the shortest decimals that read back as the same number, so that float32 and narrower come back bit for
    bit, as float32.

    Args:
        path: the file.
        rows: the vectors, finite.
        facts: further entries of the web UI's dictionary: name, step, sd_checkpoint, sd_checkpoint_name.

    Raises:
        OutputError: the file can't be written.
    """
    numbers = StoredTensor.of(rows).numbers.astype(np.float32)
    content = {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": {TENSOR_KEY: numbers.tolist()}},
        **facts,
    }
    text = PngImagePlugin.PngInfo()
    text.add_text(TEXT_CHUNK, base64.b64encode(json.dumps(content).encode()))
    with np.errstate(over="ignore", invalid="ignore"):  # numbers of both signs near the largest
        spread = (numbers - numbers.min()) / max(numbers.max() - numbers.min(), np.finfo(np.float32).tiny)
        grey = Image.fromarray(np.rint(spread * 255).astype(np.uint8))
    picture = grey.convert("RGB").resize((PICTURE_SIZE, PICTURE_SIZE), Image.Resampling.NEAREST)
    with write_atomically(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=text)


def _with_tensor(value: dict[str, Any]) -> Any:
    if TENSOR_KEY not in value:
        return value
    numbers = value[TENSOR_KEY]
    if not isinstance(numbers, list):
        raise ValueError(f"{TENSOR_KEY} must be a list, got {type(numbers).__name__}")
    array = np.array(numbers)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{TENSOR_KEY} must hold numbers alone")
    with np.errstate(over="ignore"):
        return StoredTensor(array.astype(np.float64).astype(np.float32), "float32")
