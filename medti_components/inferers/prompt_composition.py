# SPDX-License-Identifier: Apache-2.0
"""Prompts composed of weighted parts, ``<a> :0.5 AND <b> :0.5``, as text or as JSON."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from medti_components.errors import PromptError

_AND = re.compile(r"\bAND\b")
_NOT = re.compile(r"NOT\b\s*")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_FACTOR = re.compile(r"([^\s*<>]+)(\s*\*)\s*")
_FACTOR_BEHIND = re.compile(rf"(?:(?<=>)|\s)\s*\*\s*({_NUMBER})$")
_WEIGHT = re.compile(r"(?:^|\s|(?<=>))\s*:\s*(\S*)$|(?<=[^\d\s:>]):\s*([-+]\d+|[-+]?\d*\.\d+)$")
_END = r"(?=[\s,.;)]|$)"
_OTHER_SYNTAX = {
    r"[\[\]{}]": "brackets are no syntax here: join parts by AND, each with its weight, as in <a> :0.5 AND <b> :0.5",
    r"\|": "'|' is no syntax here: join parts by AND, as in <a> :0.5 AND <b> :0.5",
    r"\\[()]": "a parenthesis needs no backslash here: leave it out",
    rf"\((?=[^()]*(?:[<>(]|:\s*{_NUMBER}\s*\)))|\((?=[^()]*\)(?:[+-]+{_END}|\.?\d))": (
        "parentheses give no weight here: write it behind the part, as in <a> :1.3"
    ),
    r"\)\s*\.\s*\w+\s*\(": "a text has no functions here: join parts by AND, as in <a> :0.5 AND <b> :0.5",
    rf"(?<=>)[+-]+{_END}|(?<=\w)(?:\+\+|--)[+-]*{_END}": "'+' and '-' give no weight here: write it, as in <a> :1.1",
    r"::": "'::' is no syntax here: write a weight as in <a> :2, and join parts by AND",
    r"(?:^|(?<=\s))--\w": "a prompt has no options: give them as keys, such as --negative_prompt",
    r"\b(?:AND_\w+|BREAK)\b": "there is no such joint here: join parts by AND, as in <a> :0.5 AND <b> :0.5",
    r"(?<!\w)__[\w/-]+__(?!\w)": "there are no wildcards here: write each prompt on a line of --prompt_file",
    r"(?:(?<=>)|(?<=>\s))[&+](?=\s*<)|(?<=\s)\+(?=\s)": "join parts by AND, as in <a> :0.5 AND <b> :0.5",
}
"""What other tools take for syntax, and what to write here."""
_MISPLACED = {
    rf"(?<=>)\s*:\s*{_NUMBER}|\s:\s*{_NUMBER}": "a weight stands at the end of its part: join parts by AND",
    rf"(?<=\S):\s*{_NUMBER}$": "a number behind a colon may be a weight or not: write ' :2' for one, else no colon",
    r"\bNOT\b": "NOT stands at the beginning of a part: write AND NOT before it",
    rf"\*(?=[<\d.]|\s+{_NUMBER}$)|(?:^|(?<=[\s>]))\*": (
        "a star is a factor only between a number and a part: write 0.5*<a> or <a> :0.5"
    ),
    r"(?<![\w.])(?:[-+]?\d+<|[-+]?\d*\.\d+\s*<)|(?<=>)\s*[-+]?\d*\.\d+$": (
        "a number beside a token is no weight: write 0.5*<a> or <a> :0.5"
    ),
}
"""What can't stand within a text, and what to write in its place."""


@dataclass(frozen=True)
class PromptPart:
    """A text that is encoded on its own, with its weight.

    Attributes:
        text: words of the base model's vocabulary and concept tokens.
        weight: signed; a negative one leads away from the text.
        position: where the text begins in the prompt it was read from.
    """

    text: str
    weight: float = 1.0
    position: int = field(default=0, compare=False)


@dataclass(frozen=True)
class ComposedPrompt:
    """Texts and weights whose predictions are composed (Liu et al., ECCV 2022, arXiv:2206.01714).

    Attributes:
        parts: at least one.
        source: what it was read from, for messages.
    """

    parts: tuple[PromptPart, ...]
    source: str = field(default="", compare=False)

    @property
    def weights(self) -> tuple[float, ...]:
        """One per part."""
        return tuple(part.weight for part in self.parts)

    @property
    def text(self) -> str:
        """The prompt as it was written, or as text that reads back as the same parts.

        >>> parse_prompt(" 0.5*<a>").text, ComposedPrompt((PromptPart("<a>", 0.5),)).text
        (' 0.5*<a>', '<a> :0.5')
        """
        return self.source or str(self)

    def asks_for(self, concept: str) -> bool:
        """Tell whether a part of positive weight names a concept.

        >>> prompt = parse_prompt("<ill> :1.5 AND <well> :-0.5")
        >>> prompt.asks_for("<ill>"), prompt.asks_for("<well>")
        (True, False)
        """
        return any(part.weight > 0 and concept in part.text for part in self.parts)

    def __str__(self) -> str:
        """Return the prompt as text that reads back as the same parts."""
        if len(self.parts) == 1 and self.parts[0].weight == 1.0:
            return self.parts[0].text
        return " AND ".join(f"{part.text} :{part.weight:.12g}" for part in self.parts)

    def fault(self, message: str, part: PromptPart, offset: int = 0) -> PromptError:
        """Return the error of a fault ``offset`` characters into a part."""
        return PromptError(message, self.text, part.position + offset)


def parse_prompt(prompt: str | Mapping[str, float] | ComposedPrompt) -> ComposedPrompt:
    """Read a prompt.

    Parts are joined by the word AND. A part's weight stands behind it, ``<a> :0.5``, as a factor before or behind it,
    ``0.5*<a>`` or ``<a> * 0.5``, and is 1 where none is given; spaces are free. ``NOT`` before a part turns its sign.
    Weights are signed decimals and are not normalised. As JSON, a prompt is an object of texts and their weights. What
    other tools take for syntax, such as ``(<a>:1.3)`` or ``[<a>|<b>]``, is an error and never text.

    Args:
        prompt: text such as ``"<a> :0.5 AND <b> :0.5"`` or a mapping such as ``{"<a>": 0.5, "<b>": 0.5}``.

    Raises:
        PromptError: the prompt can't be read; the message shows where.

    >>> parse_prompt("<a>:0.25 AND 0.75*<b> AND NOT blurry").weights
    (0.25, 0.75, -1.0)
    >>> parse_prompt("T2*-weighted <a> * 0.5").parts[0].text
    'T2*-weighted <a>'
    >>> str(parse_prompt({"<a>": 1, "dark <b>": -0.5}))
    '<a> :1 AND dark <b> :-0.5'
    """
    if isinstance(prompt, ComposedPrompt):
        return prompt
    if isinstance(prompt, Mapping):
        return _from_mapping(prompt)
    if not isinstance(prompt, str):
        raise PromptError(f"prompt must be text or an object of texts and weights, got {type(prompt).__name__}", "", 0)
    if not prompt.strip():
        return ComposedPrompt((PromptPart(""),), prompt)
    return ComposedPrompt(tuple(_read_part(prompt, start, end) for start, end in _spans(prompt)), prompt)


def _from_mapping(prompt: Mapping[str, Any]) -> ComposedPrompt:
    source = str(dict(prompt))
    if not prompt:
        raise PromptError("prompt must hold at least one text and its weight", source, 0)
    parts = []
    for text, weight in prompt.items():
        is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool) and math.isfinite(weight)
        position = max(source.find(repr(text)) + 1, 0)
        if not isinstance(text, str) or not is_number:
            raise PromptError(f"the weight of {text!r} must be a finite number, got {weight!r}", source, position)
        if _AND.search(text):
            raise PromptError(
                "a text of a structured prompt must not hold AND: give its parts one by one", source, position
            )
        if text.strip() and _read_part(text, 0, len(text)) != PromptPart(text.strip()):
            raise PromptError(
                "a text of a structured prompt must not hold a weight: give it as the text's value", source, position
            )
        parts.append(PromptPart(text.strip(), float(weight), position))
    return ComposedPrompt(tuple(parts), source)


def _spans(prompt: str) -> Iterator[tuple[int, int]]:
    start = 0
    for joint in _AND.finditer(prompt):
        yield start, joint.start()
        start = joint.end()
    yield start, len(prompt)


def _read_part(prompt: str, start: int, end: int) -> PromptPart:
    """Read the part between two offsets; ``start`` moves on over what stands before the text, ``end`` back."""
    start, end = _stripped(prompt, start, end)
    sign = 1.0
    if negation := _NOT.match(prompt, start, end):
        sign, start = -1.0, negation.end()
    _ensure_none_of(_OTHER_SYNTAX, prompt, start, end)
    weight = None
    if (factor := _FACTOR.match(prompt, start, end)) and _is_factor(factor):
        weight, start = _number(prompt, factor.group(1), factor.start(1)), factor.end()
    text = prompt[start:end]
    if ending := _WEIGHT.search(text) or _FACTOR_BEHIND.search(text):
        where = start + ending.start(ending.lastindex or 1)
        if weight is not None:
            raise PromptError("a part must have one weight, before it or behind it, got two", prompt, where)
        weight, end = _number(prompt, ending.group(ending.lastindex or 1), where), start + ending.start()
    start, end = _stripped(prompt, start, end)
    if start >= end:
        raise PromptError("a part must have a text", prompt, start)
    _ensure_none_of(_MISPLACED, prompt, start, end)
    return PromptPart(prompt[start:end], sign * (1.0 if weight is None else weight), start)


def _is_factor(factor: re.Match[str]) -> bool:
    """Tell a factor, or what was to be one, from a word that ends in a star, such as T2*."""
    stands_apart = factor.group(2) != "*" or factor.string[factor.end(2) :].startswith("<")
    return stands_apart or re.fullmatch(_NUMBER, factor.group(1)) is not None


def _ensure_none_of(faults: Mapping[str, str], prompt: str, start: int, end: int) -> None:
    for pattern, message in faults.items():
        if found := re.search(pattern, prompt[start:end]):
            where = start + found.start() + len(found.group()) - len(found.group().lstrip())
            raise PromptError(message, prompt, where)


def _stripped(prompt: str, start: int, end: int) -> tuple[int, int]:
    inner = prompt[start:end]
    left = len(inner) - len(inner.lstrip())
    return min(start + left, end), start + max(len(inner.rstrip()), left)


def _number(prompt: str, text: str, position: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise PromptError(f"a weight must be a decimal number, got '{text}'", prompt, position)
    return value
