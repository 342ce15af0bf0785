# SPDX-License-Identifier: Apache-2.0
"""The words that an evaluation is of, and whether they were learned from the cases that it takes for that."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medti_components.data.generated.generated_images import GeneratedImages
from medti_components.data.latent_cache import case_name
from medti_components.errors import DataError, EmbeddingError
from medti_components.evaluation.verdict import VerdictCheck
from medti_components.networks.embedding_files.embedding_file import (
    EmbeddingFile,
    embedding_paths,
    load_embedding,
)
from medti_components.networks.embedding_files.learned_words import ensure_same_pictures
from medti_components.networks.embedding_files.trained_cases import TrainedCases

Entries = Sequence[Mapping[str, Any]]
SPLIT_FACTS = ("num_cases", "num_validation_cases", "seed")


class LearnedWords:
    """Which cases the words have seen, by the words' own metadata; the split of the evaluation is checked against it.

    Args:
        embeddings: folder of the learned words, a file or several; None where they are not at hand.
        concepts: tokens that need a word.
        training: entries of the cases that the split takes for training; None where ``dataset_dir`` holds other cases.
        held_out: entries of the cases that it takes for held out.
        generated: the images, whose provenance names the words that made them.
        pictures: the keys that say what a picture shows, with their values, such as ``sequences``.
        skip_unreadable: whether the training left out cases that it could not read.

    Attributes:
        training: the entries of the cases that the words were learned from.
        check: whether it is known which cases those are.

    Raises:
        EmbeddingError: a word is missing or unreadable, was learned from other cases than ``training`` or from other
            pictures, or did not make the generated images.
        DataError: a held-out case is of a patient that a word was learned from.
    """

    def __init__(
        self,
        embeddings: str | Path | Sequence[str | Path] | None,
        concepts: Sequence[str],
        training: Entries | None,
        held_out: Entries,
        generated: GeneratedImages | None = None,
        pictures: Mapping[str, Any] | None = None,
        skip_unreadable: bool = False,
    ) -> None:
        files = [] if embeddings is None else [load_embedding(path) for path in embedding_paths(embeddings)]
        words = {word.token: word for word in files}
        if files and (absent := [concept for concept in concepts if concept not in words]):
            raise EmbeddingError(
                f"embeddings must hold a file of '{absent[0]}', got {', '.join(words)}: set --embeddings"
            )
        self.words = {concept: words[concept] for concept in concepts} if files else {}
        self.training = training
        unknown = {} if files else {"embeddings": "embeddings is null"}
        for token, word in self.words.items():
            ensure_same_pictures(word, pictures or {})
            unmade = _ensure_made_by(word, generated)
            if (seen := TrainedCases.read(word.metadata)) is None:
                unknown[token] = f"'{word.path}' does not say which ones they are"
            else:
                self.training = _seen_alone(word, seen, self.training, skip_unreadable)
                _ensure_unseen(word, seen, held_out)
            if unmade:
                unknown.setdefault(token, unmade)
        self.check = VerdictCheck("training cases", True, "held-out cases are none that the words were learned from")
        if unknown:
            reason = next(iter(unknown.values()))
            statement = f"which cases the words were learned from is not known, as {reason}"
            self.check = VerdictCheck("training cases", None, statement)

    @property
    def sha256(self) -> dict[str, str]:
        """Hash of each word's file, by token."""
        return {token: word.sha256 for token, word in self.words.items()}


def _ensure_made_by(word: EmbeddingFile, generated: GeneratedImages | None) -> str:
    """Check that a word made its images on the base model that it was learned on; return what is not known of that."""
    for concept, line in [] if generated is None else generated.lines:
        if concept != word.token:
            continue
        made_by = line.entry.get("embedding_sha256", {}).get(word.token)
        if made_by is None:
            return f"'{line.source}' does not say which words made the images"
        if made_by != word.sha256:
            raise EmbeddingError(
                f"'{word.path}' (sha256 {word.sha256[:12]}) is not the word that made the images of '{line.source}' "
                f"(sha256 {made_by[:12]}): set --embeddings to that word, or generate the images again"
            )
        learned_on, run_on = word.metadata.get("base_model_sha256"), line.entry.get("base_model_sha256")
        if None not in (learned_on, run_on) and learned_on != run_on:
            raise EmbeddingError(
                f"images of '{line.source}' were made on another base model than '{word.path}' was learned on: "
                "generate them on that one"
            )
    return ""


def _seen_alone(word: EmbeddingFile, seen: TrainedCases, training: Entries | None, skip_unreadable: bool) -> Any:
    """Return the entries without those of the word that it was not learned from."""
    if training is None:
        return None
    own = [entry for entry in training if entry["concept"] == word.token]
    names = [seen.name(entry["patient_id"], case_name(entry)) for entry in own]
    found = seen.names.intersection(names)
    if found != seen.names or (len(found) < len(own) and not skip_unreadable):
        facts = {key: word.metadata[key] for key in SPLIT_FACTS if key in word.metadata}
        raise EmbeddingError(
            f"'{word.path}' was learned from {len(seen.names)} cases, of which {len(found)} are among the {len(own)} "
            f"that num_cases, num_validation_cases and seed take for training: set "
            f"{' '.join(f'--{key} {value}' for key, value in facts.items())}, and --dataset_dir to what it was learned "
            "from"
        )
    unseen = {id(entry) for entry, name in zip(own, names, strict=True) if name not in seen.names}
    return [entry for entry in training if id(entry) not in unseen]


def _ensure_unseen(word: EmbeddingFile, seen: TrainedCases, held_out: Entries) -> None:
    trained = [entry for entry in held_out if seen.has_patient(entry["patient_id"])]
    if trained:
        raise DataError(
            f"{len(trained)} of {len(held_out)} held-out cases are of patients that '{word.path}' was learned from, "
            f"'{case_name(trained[0])}' among them: set --num_cases, --num_validation_cases and --seed as in its "
            "training, or give other cases by --dataset_dir"
        )
