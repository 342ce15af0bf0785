# SPDX-License-Identifier: Apache-2.0
"""The trainable rows of new words: the only thing that is trained and the only thing that is shared."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medti_components.errors import EmbeddingError
from medti_components.networks.embedding_files.embedding_file import (
    ensure_case_differs,
    ensure_concept_token,
    ensure_new_token,
)
from medti_components.random_streams import random_stream

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


class ConceptEmbedding(nn.Module):
    """The rows that one new word puts in place of its token embedding.

    Args:
        token: the new word, ``<word>``.
        rows: tensor (n, width), one row per vector.

    >>> embedding = ConceptEmbedding("<nodule>", torch.zeros(2, 4))
    >>> list(embedding.state_dict())
    ['rows']
    """

    def __init__(self, token: str, rows: Tensor) -> None:
        super().__init__()
        self.token = ensure_concept_token(token)
        if rows.ndim != 2:
            raise EmbeddingError(f"rows of '{token}' must have shape (vectors, width), got {tuple(rows.shape)}")
        self.rows = nn.Parameter(rows.detach().to(torch.float32).clone())

    @classmethod
    def initialized(cls, token: str, num_vectors: int, model: "FrozenLatentDiffusion", seed: int) -> "ConceptEmbedding":
        """Start from rows of the model's own vocabulary, drawn by a stream of (seed, token), special tokens left out.

        Raises:
            EmbeddingError: ``num_vectors`` is not in [1, model.max_vectors], or the token is not of the form ``<word>``
                in lower case.
        """
        ensure_new_token(token)
        if (
            isinstance(num_vectors, bool)
            or not isinstance(num_vectors, int)
            or not 1 <= num_vectors <= model.max_vectors
        ):
            raise EmbeddingError(
                f"num_vectors must be a whole number from 1 to {model.max_vectors}, the most that "
                f"'{model.name}' takes, got {num_vectors}"
            )
        vocabulary = model.vocabulary_rows()
        order = torch.randperm(len(vocabulary), generator=random_stream(seed, token, "initial rows"))
        chosen = order[torch.arange(num_vectors) % len(order)]
        return cls(token, vocabulary[chosen.to(vocabulary.device)])


class ConceptEmbeddings(nn.Module):
    """Several concepts' rows, in order; ``state_dict`` holds ``<token>.rows`` of each and nothing else.

    >>> words = [ConceptEmbedding("<a>", torch.zeros(2, 4)), ConceptEmbedding("<b>", torch.ones(1, 4))]
    >>> embeddings = ConceptEmbeddings(words)
    >>> embeddings.tokens
    ('<a>', '<b>')
    >>> sorted(embeddings.state_dict())
    ['<a>.rows', '<b>.rows']
    >>> embeddings["<b>"].rows.shape
    torch.Size([1, 4])
    """

    def __init__(self, embeddings: Iterable[ConceptEmbedding]) -> None:
        super().__init__()
        self.tokens: tuple[str, ...] = ()
        for embedding in embeddings:
            if embedding.token in self.tokens:
                raise EmbeddingError(f"concept '{embedding.token}' is given twice: name each concept once in concepts")
            ensure_case_differs([*self.tokens, embedding.token])
            self.add_module(embedding.token, embedding)
            self.tokens += (embedding.token,)
        if not self.tokens:
            raise EmbeddingError("concepts must name at least one concept token, got none")

    @classmethod
    def initialized(
        cls, tokens: Iterable[str], num_vectors: int, model: "FrozenLatentDiffusion", seed: int
    ) -> "ConceptEmbeddings":
        """Start each concept as :meth:`ConceptEmbedding.initialized` does, whatever the other concepts are."""
        return cls([ConceptEmbedding.initialized(token, num_vectors, model, seed) for token in tokens])

    def __getitem__(self, token: str) -> ConceptEmbedding:
        if token not in self.tokens:
            raise EmbeddingError(f"unknown concept '{token}': known are {', '.join(self.tokens)}")
        embedding = self._modules[token]
        if not isinstance(embedding, ConceptEmbedding):
            raise EmbeddingError(f"'{token}' is no concept embedding")
        return embedding

    def __iter__(self) -> Iterator[ConceptEmbedding]:
        return (self[token] for token in self.tokens)

    def __len__(self) -> int:
        return len(self.tokens)
