# SPDX-License-Identifier: Apache-2.0
"""What was trained, in a bundle's folder ``models``: words, a classifier or a base model; ``model.pt`` for the zoo."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache

from medti_components.errors import BundleError, EmbeddingError
from medti_components.files import write_atomically
from medti_components.networks.base_model_folder import WEIGHT_FILES, checkpoint_fingerprint, short_name, weight_files
from medti_components.networks.concept_embedding import ConceptEmbedding, ConceptEmbeddings
from medti_components.networks.embedding_files.embedding_file import (
    EmbeddingFile,
    concept_name,
    embedding_paths,
    load_embedding,
    printable,
    read_safetensors,
)
from medti_components.networks.embedding_files.learned_words import ensure_modality
from medti_components.networks.hub_folder import revision_of
from medti_components.networks.image_classifier import classifier_facts

KINDS = ("embeddings", "classifier")  # keys of inference.json that name what was trained
MODELS = "$@bundle_root + '/models{}'"
CLASSIFIER = "/classifier.safetensors"
STATE_DICT = "model.pt"
BASE_MODEL_INDEX = "model_index.json"


@dataclass(frozen=True)
class PackedWeights:
    """What was packed: learned words, a classifier by what it was trained with, or a base model by its hash."""

    words: list[EmbeddingFile] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    base_model_sha256: str = ""

    @property
    def phantoms(self) -> str:
        """The phantoms that all words were learned from, "" where that is not so."""
        terms = {word.metadata.get("data_license", "") for word in self.words}
        return ", ".join(sorted(terms)) if terms and all(term.startswith("phantoms") for term in terms) else ""


def pack_weights(
    given: Mapping[str, str | Sequence[str]], models: Path, configs: Mapping[str, dict[str, Any]], base: Path | None
) -> PackedWeights:
    """Copy what was trained into a bundle, let its configs load it from there, and write ``models/model.pt``.

    Args:
        given: paths by the keys of ``KINDS``; that which inference.json has must not be empty, the others must be.
            Where it has none, the bundle is one of a base model, which lies in ``models``.
        models: the bundle's folder for weights.
        configs: its configs by file name, which are changed.
        base: folder of its base model; None for one of the hub.

    Raises:
        BundleError: nothing that fits is given.
        EmbeddingError: a word is missing or unreadable, there twice, or does not fit the base model.
        DataError: the classifier is missing, or not of a training run of the bundle.
    """
    inference = configs["inference.json"]
    kind = next((key for key in KINDS if key in inference), None)
    if kind is None and not (models / BASE_MODEL_INDEX).is_file():
        raise BundleError(f"configs/inference.json must have one of the keys {', '.join(KINDS)}: say what it loads")
    for key, value in given.items():
        if value and kind is None:
            raise BundleError(f"--{key} does not fit a bundle of a base model, which lies in its models/: leave it out")
        if value and key != kind:
            raise BundleError(f"--{key} does not fit a bundle whose inference.json has '{kind}': give --{kind}")
    if kind is None:
        save_state_dict(models / STATE_DICT, _base_model_tensors(models))
        return PackedWeights(base_model_sha256=checkpoint_fingerprint(models))
    if not given[kind]:
        raise BundleError(f"--{kind} must be given: what a training run of the bundle has left in its output_dir")
    models.mkdir(parents=True, exist_ok=True)
    for path in models.glob("*.safetensors"):
        path.unlink()
    users = [config for config in configs.values() if kind in config]
    if kind == "embeddings":
        return PackedWeights(words=_pack_words(given[kind], models, users, inference, base))
    return PackedWeights(settings=_pack_classifier(str(given[kind]), models, users))


def _pack_words(
    embeddings: str | Sequence[str],
    models: Path,
    users: Sequence[dict[str, Any]],
    inference: Mapping[str, Any],
    base: Path | None,
) -> list[EmbeddingFile]:
    words = [load_embedding(path) for path in embedding_paths(embeddings)]
    network = ConceptEmbeddings(ConceptEmbedding(word.token, word.rows) for word in words)
    _ensure_fit(words, base, inference)
    for word in words:  # as they are: a file that is written anew has its metadata in another order each time
        shutil.copyfile(word.path, models / f"{concept_name(word.token)}.safetensors")
    for config in users:
        config["embeddings"] = MODELS.format("")
    save_state_dict(models / STATE_DICT, network.state_dict())
    return words


def _pack_classifier(classifier: str, models: Path, users: Sequence[dict[str, Any]]) -> dict[str, Any]:
    classifier_facts(classifier)  # refuses what is no classifier
    tensors, metadata = read_safetensors(Path(classifier))
    settings: dict[str, Any] = json.loads(metadata["settings"])
    shutil.copyfile(classifier, models / CLASSIFIER[1:])
    for config in users:
        config.update({key: value for key, value in settings.items() if key in config})
        config["classifier"] = MODELS.format(CLASSIFIER)
    save_state_dict(models / STATE_DICT, tensors)
    return settings


def _base_model_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a base model by the names that ``FrozenLatentDiffusion`` gives them, as they are stored."""
    return {
        f"{part}.{name}": tensor
        for part in WEIGHT_FILES
        for path in weight_files(folder, part)
        for name, tensor in read_safetensors(path)[0].items()
    }


def save_state_dict(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write ``model.pt``, tensors by name, with the same bytes for the same tensors.

    It is a pickle, which this software writes nowhere else: the model zoo takes no bundle without that file, and loads
    it with ``weights_only=True``. Nothing here reads it, but for the check that it can be loaded so.
    """
    with write_atomically(path) as temporary, open(temporary, "wb") as file:  # a name would be part of the content
        torch.save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, file)


def _ensure_fit(words: Sequence[EmbeddingFile], base: Path | None, config: Mapping[str, Any]) -> None:
    """Check that all words are as wide as the base model's text encoder, and were learned on that base model."""
    base_model = short_name(str(base)) if base is not None else str(config["base_model"])
    width = _text_width(base, base_model, config.get("base_revision"))
    first = words[0].rows.shape[1]
    for word in words:
        if not config.get("allow_other_modality"):  # of an overlay
            ensure_modality(word, config.get("learned_words", {}).get("modality"))
        own = word.rows.shape[1]
        if own != (width or first):
            against = (
                f"text encoder width {width} of '{base_model}'" if width else f"width {first} of '{words[0].path}'"
            )
            raise EmbeddingError(
                f"embedding width {own} of '{word.path}' does not match {against}: {_remedy(word, base_model)}"
            )
    fingerprint = checkpoint_fingerprint(base) if base is not None else None
    for word in words if not config.get("allow_other_base") else ():
        learned_on = word.metadata.get("base_model")
        learned_hash = word.metadata.get("base_model_sha256")
        is_other = learned_hash != fingerprint if fingerprint else learned_on != base_model
        if learned_hash is not None and is_other:
            raise EmbeddingError(
                f"'{word.path}' was learned on '{printable(learned_on)}' (sha256 {printable(learned_hash, 12)}), not "
                f"on what the bundle loads, '{base_model}': {_remedy(word, base_model)}"
            )


def _remedy(word: EmbeddingFile, base_model: str) -> str:
    learned_on = printable(word.metadata.get("base_model", "its base model"))
    if learned_on == "tiny_latent_diffusion" and base_model != learned_on:
        return "give --overlays configs/embedded.json"
    if learned_on == base_model:
        return f"learn the words anew on these weights of '{base_model}'"
    return f"pack words of '{base_model}', or name '{learned_on}' in an overlay, by --overlays"


def _text_width(base: Path | None, name: str, revision: str | None) -> int | None:
    """Return the base model's text width; None for one of the hub that was not fetched before."""
    file = "text_encoder/config.json"
    try:
        path = (
            base / file
            if base is not None
            else try_to_load_from_cache(name, file, revision=revision_of(name, revision))
        )
        if not isinstance(path, str | Path):
            return None
        width = int(json.loads(Path(path).read_text(encoding="utf-8"))["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = printable(" ".join(str(error).split()))
        raise BundleError(f"base_model '{name}' has no readable {file} ({reason}): correct it, or fetch it") from error
    return width
