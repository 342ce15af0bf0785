# SPDX-License-Identifier: Apache-2.0
"""Writing a word in the layout that another tool reads. No pickle is written: each tool reads safetensors or PNG."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from medti_components.errors import EmbeddingError
from medti_components.files import save_tensors_atomically
from medti_components.networks.concept_embedding import ensure_concept_token
from medti_components.networks.embedding_files.embedding_file import ensure_rows
from medti_components.networks.embedding_files.embedding_picture import save_embedding_picture

FILE_ENDINGS = {"diffusers": ".safetensors", "webui": ".safetensors", "kohya": ".safetensors", "png": ".png"}


def export_embedding(path: str | Path, layout: str, token: str, rows: Tensor, metadata: Mapping[str, str]) -> None:
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
    ensure_rows(rows, f"embedding of '{token}'")
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
