# SPDX-License-Identifier: Apache-2.0
"""The command ``embedding``: look into the files of any tool, import them, export for another tool."""

from pathlib import Path

import numpy as np

import medti_components
from medti_components.errors import EmbeddingError
from medti_components.files import ensure_writable_directory
from medti_components.networks.embedding_files.embedding_file import (
    CONCEPT_TOKEN,
    concept_name,
    ensure_concept_token,
    name_fault,
    printable,
    save_embedding,
)
from medti_components.networks.embedding_files.foreign_embedding import (
    ForeignEmbedding,
    export_embedding,
    load_foreign_embedding,
)

SHOWN_FIRST = ("base_model", "base_model_sha256", "steps", "seed")


class Embedding:
    """Look into embedding files of any tool, import them, export for another tool."""

    def inspect(self, file: str, key: str = "") -> str:
        """Show what an embedding file holds: word, size, base model, steps, norms of its vectors, provenance.

        Args:
            file: of this tool, diffusers, the web UI (.pt, .png, .safetensors), kohya or OneTrainer.
            key: name of the tensor that holds the word, where no tool's layout says so.
        """
        found = load_foreign_embedding(file, allow_pickle=True, key=key)
        norms = np.linalg.norm(found.stored.numbers.astype(np.float64), axis=1)
        smallest, middle, largest = (float(norm) for norm in (norms.min(), np.median(norms), norms.max()))
        facts = {
            "file": found.path,
            "format": f"{found.layout}, {found.container}",
            "token": found.name or "none",
            "vectors": found.stored.numbers.shape[0],
            "width": found.stored.numbers.shape[1],
            "precision": found.stored.precision,
            **{name: found.metadata.get(name, "unknown") for name in SHOWN_FIRST},
            "norms": f"min {smallest:.4g}, median {middle:.4g}, max {largest:.4g}",
            "sha256": found.sha256,
        }
        facts |= {name: value for name, value in sorted(found.metadata.items()) if name not in SHOWN_FIRST}
        facts |= {"note": found.note} if found.note else {}
        return "\n".join(f"{printable(f'{name}:'):<20} {printable(value)}" for name, value in facts.items())

    def import_(self, file: str, output_dir: str, token: str = "", key: str = "") -> str:
        """Write the embedding of any tool's file as ``<concept>.safetensors``, for ``--embeddings``.

        Args:
            file: of diffusers, the web UI (.pt, .png, .safetensors), kohya or OneTrainer; nothing in it is ever run.
            output_dir: folder for the file.
            token: the word in prompts from now on, like "<prostate_mri_positive>"; by default the file's own.
            key: name of the tensor that holds the word, where no tool's layout says so.
        """
        found = load_foreign_embedding(file, allow_pickle=True, key=key)
        word = _word(found, token)
        metadata = {
            **found.metadata,
            "imported_format": f"{found.layout}, {found.container}",
            "imported_file": printable(found.path.name),
            "imported_name": found.name or "none",
            "imported_sha256": found.sha256,
            "medti_version": medti_components.__version__,
        }
        path = ensure_writable_directory(output_dir) / f"{concept_name(word)}.safetensors"
        save_embedding(path, word, found.rows, metadata)
        num_vectors, width = found.rows.shape
        lines = [f"wrote {path}: '{word}', {num_vectors} vectors of width {width}, from {metadata['imported_format']}"]
        lines += [f"note: {found.note}"] if found.note else []
        if fault := name_fault(word):
            lines.append(f"warning: the word should be {fault}: import it again with --token")
        return "\n".join(lines)

    def export(self, file: str, format: str, output_file: str, token: str = "") -> str:
        """Write an embedding as another tool reads it.

        Args:
            file: an embedding file; a pickle must be imported first.
            format: diffusers, webui, kohya or png.
            output_file: ends in .safetensors, or .png for png.
            token: the word in that tool's prompts; by default the file's own.
        """
        found = load_foreign_embedding(file)
        word = _word(found, token)
        export_embedding(output_file, format, word, found.rows, found.metadata)
        prompt = Path(output_file).stem if format in ("webui", "kohya") else word
        return f"wrote {output_file}: in prompts write {prompt}"


def _word(found: ForeignEmbedding, token: str) -> str:
    if token:
        return ensure_concept_token(token)
    if found.name is None or not CONCEPT_TOKEN.fullmatch(found.name):
        named = f"the name '{found.name}', which is no word in angle brackets" if found.name else "no token"
        raise EmbeddingError(f"'{found.path}' has {named}: give one like --token '<prostate_mri_positive>'")
    return found.name
