# SPDX-License-Identifier: Apache-2.0
"""Which of the learned words are findings, and which images show or were asked to show which of them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medti_components.data.datasets.radiographs import FINDINGS, concept_findings
from medti_components.errors import ConfigError, DataError
from medti_components.inferers.prompt_composition import PromptPart

_TOKEN = re.compile(r"<[^<>\s]+>")


@dataclass(frozen=True)
class FindingConcepts:
    """The word of no finding, and the words of findings with the findings' names, in one order.

    A label is a float32 tensor (findings,) of 0 and 1 in this order.

    >>> findings = FindingConcepts.of(["<x_no_finding>", "<x_cardiomegaly>", "<x_pneumonia>"])
    >>> findings.names, findings.label(["pneumonia"]), findings.named(torch.tensor([1.0, 1.0]))
    (('cardiomegaly', 'pneumonia'), tensor([0., 1.]), 'cardiomegaly + pneumonia')
    """

    negative: str
    positive: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, concepts: Sequence[str]) -> "FindingConcepts":
        """Sort out the words by what their tokens end in.

        Raises:
            ConfigError: a token has an unknown ending, or there are not one word of no finding and at least one of a
                finding, each once.
        """
        found = concept_findings(concepts)
        negative = [token for token, finding in found.items() if finding == FINDINGS[0]]
        positive = {token: finding for token, finding in found.items() if finding != FINDINGS[0]}
        if len(negative) != 1 or not positive or len(set(positive.values())) != len(positive):
            raise ConfigError(
                f"concepts must hold one that ends in '{FINDINGS[0]}>' and at least one of a finding, each finding "
                f"once, got {list(found)}: set --concepts"
            )
        return cls(negative[0], tuple(positive), tuple(positive.values()))

    @property
    def tokens(self) -> tuple[str, ...]:
        """All words, that of no finding first."""
        return (self.negative, *self.positive)

    def label(self, findings: Iterable[str]) -> Tensor:
        """Return the label of an image that shows ``findings``; others than the words' do not count."""
        shown = set(findings)
        return torch.tensor([float(name in shown) for name in self.names])

    def label_of_tokens(self, tokens: Iterable[str]) -> Tensor:
        """Return the label of an image that was asked for by ``tokens``.

        Raises:
            DataError: a token is not among the words.
        """
        asked = list(tokens)
        for token in asked:
            if token not in self.tokens:
                raise DataError(f"unknown concept '{token}', known are {', '.join(self.tokens)}: correct --concepts")
        return torch.tensor([float(token in asked) for token in self.positive])

    def label_of_parts(self, parts: Iterable[PromptPart]) -> Tensor:
        """Return the label of an image that was asked for by those ``parts`` of a prompt that have a positive weight.

        Raises:
            DataError: a token in them is not among the words.
        """
        return self.label_of_tokens(token for part in parts if part.weight > 0 for token in _TOKEN.findall(part.text))

    def named(self, label: Tensor) -> str:
        """Return the findings of a label in words."""
        return (
            " + ".join(name for name, is_shown in zip(self.names, label.tolist(), strict=True) if is_shown)
            or (FINDINGS[0])
        )

    def labelled(self, datalist: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the entries of a datalist with the labels of their ``findings``."""
        return [{**entry, "label": self.label(entry["findings"])} for entry in datalist]
