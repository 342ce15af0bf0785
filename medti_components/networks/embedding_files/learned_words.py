# SPDX-License-Identifier: Apache-2.0
"""Learned words together, with the base model and the kind of images that they are to be used for."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medti_components.errors import ConfigError, EmbeddingError
from medti_components.networks.embedding_files.embedding_file import (
    EmbeddingFile,
    embedding_paths,
    ensure_case_differs,
    load_embedding,
    printable,
)

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def load_embeddings(
    folder_or_files: str | Path | Sequence[str | Path],
    model: "FrozenLatentDiffusion",
    allow_other_base: bool | None = False,
    modality: str | None = None,
    allow_other_modality: bool = False,
) -> dict[str, EmbeddingFile]:
    """Read learned words and check that they fit the loaded base model.

    Args:
        folder_or_files: a folder of ``*.safetensors``, one file or several.
        model: the base model they are to be used with.
        allow_other_base: accept words that were learned on another base model of the same width; None does not, and
            does not offer it either.
        modality: of the images that are wanted, such as "prostate_mri"; None for any.
        allow_other_modality: accept words that were learned on another modality.

    Returns:
        The files by token, in the order of the files.

    Raises:
        EmbeddingError: a file is unreadable, two files hold the same token, the width is not the text encoder's, there
            are more vectors than it takes, or the word was learned on another base model or modality.
    """
    loaded: dict[str, EmbeddingFile] = {}
    for path in embedding_paths(folder_or_files):
        embedding = load_embedding(path)
        if embedding.token in loaded:
            raise EmbeddingError(
                f"'{path}' and '{loaded[embedding.token].path}' both hold '{embedding.token}': give one of them"
            )
        if not allow_other_modality:
            ensure_modality(embedding, modality)
        ensure_case_differs([*loaded, embedding.token])
        _ensure_fits(embedding, model, allow_other_base)
        loaded[embedding.token] = embedding
    return loaded


def ensure_modality(embedding: EmbeddingFile, modality: str | None) -> None:
    """Check that a word is of the modality that is wanted, where both are known: files of other tools do not say.

    Raises:
        EmbeddingError: it is not.
    """
    learned_on = embedding.metadata.get("modality", modality)
    if modality is not None and learned_on != modality:
        raise EmbeddingError(
            f"'{embedding.path}' holds '{embedding.token}', a word of '{printable(learned_on)}', but this bundle makes "
            f"images of '{modality}': take the bundle of that word, or set --allow_other_modality true"
        )


def ensure_same_pictures(embedding: EmbeddingFile, pictures: Mapping[str, Any]) -> None:
    """Check that keys which say what a picture shows have the values that a word was learned with.

    Args:
        embedding: the word; one whose metadata does not have a key fits any value.
        pictures: values by key, such as ``{"sequences": ["t2w"], "field_of_view_mm": 96.0}``.

    Raises:
        EmbeddingError: a value is another.
    """
    for key, value in pictures.items():
        learned = json.loads(embedding.metadata.get(key, json.dumps(value)))
        if learned != value:
            raise EmbeddingError(
                f"{key} must be {learned}, with which '{embedding.path}' was learned, got {value}: set --{key} "
                f'"{str(learned).replace(" ", "")}"'
            )


def learned_field_of_view(words: Mapping[str, EmbeddingFile], given: float | None, otherwise: float) -> float:
    """Return the edge, in mm, of the square that images of learned words show, as the words' metadata have it.

    Args:
        words: by token.
        given: what a user asks for; None takes that of the words.
        otherwise: the edge where neither the user nor a word says it, as with files of other tools.

    Raises:
        ConfigError: words were learned from images of other edges than what is given, or than each other.
    """
    edges: dict[float, str] = {}
    for token, word in words.items():
        if "field_of_view_mm" in word.metadata:
            edges.setdefault(float(word.metadata["field_of_view_mm"]), token)
    if given is None and len(edges) > 1:
        (one, first), (other, second) = [*edges.items()][:2]
        raise ConfigError(
            f"'{first}' was learned from images of {one:g} mm, '{second}' of {other:g} mm: give --embeddings of one of "
            "them"
        )
    for edge, token in edges.items():
        if given not in (None, edge):
            raise ConfigError(
                f"field_of_view_mm is {given:g}, but '{token}' was learned from images of {edge:g} mm: "
                f"set --field_of_view_mm {edge:g}, or leave it out"
            )
    return next(iter(edges), otherwise if given is None else given)


def _ensure_fits(embedding: EmbeddingFile, model: "FrozenLatentDiffusion", allow_other_base: bool | None) -> None:
    num_vectors, width = embedding.rows.shape
    learned_on = printable(embedding.metadata.get("base_model", "an unnamed base model"))
    if width != model.width:
        raise EmbeddingError(
            f"embedding width {width} does not match text encoder width {model.width}: '{embedding.path}' was "
            f"learned on '{learned_on}', loaded into '{model.name}'"
        )
    if num_vectors > model.max_vectors:
        raise EmbeddingError(
            f"'{embedding.path}' must hold at most {model.max_vectors} vectors, the most that "
            f"'{model.name}' takes, got {num_vectors}"
        )
    learned_hash = embedding.metadata.get("base_model_sha256")
    if learned_hash is not None and not allow_other_base and learned_hash != model.fingerprint:
        raise EmbeddingError(
            f"'{embedding.path}' was learned on '{learned_on}' (sha256 {printable(learned_hash, 12)}), not on the "
            f"loaded '{model.name}' (sha256 {model.fingerprint[:12]}): set --base_model to that one"
            + ("" if allow_other_base is None else ", or set --allow_other_base true")
        )
