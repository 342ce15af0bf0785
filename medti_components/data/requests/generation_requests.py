# SPDX-License-Identifier: Apache-2.0
"""What a generating or interpolating run is asked for: one prompt and one seed per image."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset, default_collate

from medti_components.errors import ConfigError
from medti_components.inferers.prompt_composition import ComposedPrompt, PromptPart, parse_prompt

LONGEST_NAME = 80
MAX_SEED = 2**63 - 1
CSV_COLUMNS = ("prompt", "seed", "count")


@dataclass(frozen=True)
class PromptRequest:
    """Images of one prompt, of the seeds ``seed`` to ``seed + count``."""

    prompt: ComposedPrompt
    seed: int
    count: int


class GenerationRequests(Dataset[dict[str, Any]]):
    """A list of images to generate, prompt by prompt.

    Items are ``{"prompt": a ComposedPrompt, "prompt_index": its number, "seed": seed + i, "name": file stem}``. Images
    of different prompts share their seeds, so that a column of the contact sheet starts from one noise.

    Args:
        tokens: the learned words; each alone is a prompt where none is given.
        num_images: images per prompt.
        seed: of the first image of each prompt; the next ones count on.
        prompt: one prompt, as text or as an object of texts and weights (see :func:`parse_prompt`), or a list of them;
            "" generates unconditionally.
        prompt_file: UTF-8 text with one prompt per line, blank lines left out; or, where it ends in ``.csv``, a table
            with a column ``prompt`` and, if needed, ``seed`` and ``count``, which replace seed and num_images.

    Raises:
        ConfigError: both ``prompt`` and ``prompt_file`` are given, the file can't be read or holds no prompt, or a
            number is out of range.
        PromptError: a prompt can't be read.

    >>> requests = GenerationRequests(["<a>", "<b>"], num_images=2, seed=7)
    >>> [item["name"] for item in requests]
    ['a_7', 'a_8', 'b_7', 'b_8']
    >>> GenerationRequests([], 1, 0, prompt=[{"<a>": 0.5, "<b>": 0.5}, "<b>"]).prompts[0].text
    '<a> :0.5 AND <b> :0.5'
    """

    def __init__(
        self,
        tokens: Iterable[str],
        num_images: int,
        seed: int,
        prompt: str | Mapping[str, float] | list[str | Mapping[str, float]] | None = None,
        prompt_file: str | Path | None = None,
    ) -> None:
        _check_number("num_images", num_images, 1, MAX_SEED)
        _check_number("seed", seed, 0, MAX_SEED - num_images)
        if prompt is not None and prompt_file is not None:
            raise ConfigError("prompt and prompt_file must not both be given: leave one out")
        if prompt_file is not None:
            requests = _read_requests(Path(prompt_file), num_images, seed)
        else:
            prompts = [parse_prompt(token) for token in tokens] if prompt is None else _prompts(prompt)
            requests = [PromptRequest(each, seed, num_images) for each in prompts]
        self.prompts = [request.prompt for request in requests]
        names = distinct_names([each.text for each in self.prompts])
        self._items: list[dict[str, Any]] = [
            {"prompt": request.prompt, "prompt_index": number, "seed": seed, "name": f"{name}_{seed}"}
            for number, (request, name) in enumerate(zip(requests, names, strict=True))
            for seed in range(request.seed, request.seed + request.count)
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._items[index]


def request_batches(dataset: Dataset[dict[str, Any]], batch_size: int) -> "DataLoader[dict[str, Any]]":
    """Return the requests in batches, in order; a batch may hold several prompts with the same number of parts.

    Args:
        dataset: items with a ``prompt``.
        batch_size: images per batch, at most.

    Raises:
        ConfigError: ``batch_size`` is no positive whole number.
    """
    _check_number("batch_size", batch_size, 1, MAX_SEED)
    batches: list[list[int]] = []
    num_parts = -1
    for index in range(len(dataset)):  # type: ignore[arg-type]
        before = num_parts
        num_parts = sum(weight != 0 for weight in dataset[index]["prompt"].weights)
        if num_parts == before and len(batches[-1]) < batch_size:
            batches[-1].append(index)
        else:
            batches.append([index])
    return DataLoader(dataset, batch_sampler=batches, collate_fn=_collated)


def _collated(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return items as one batch: numbers as tensors, texts and prompts as lists."""
    prompts = [item["prompt"] for item in items]
    others: dict[str, Any] = default_collate([{**item, "prompt": ""} for item in items])
    return {**others, "prompt": prompts}


def _check_number(key: str, value: Any, lowest: int, highest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        below = " and below 2**63" if key == "seed" else ""
        raise ConfigError(f"{key} must be a whole number of at least {lowest}{below}, got {value}")


def _prompts(prompt: Any) -> list[ComposedPrompt]:
    prompts = prompt if isinstance(prompt, list) else [prompt]
    if not prompts:
        raise ConfigError("prompt must hold at least one prompt, got an empty list")
    read = []
    for each in prompts:
        if not isinstance(each, (str, Mapping)):
            raise ConfigError(f"prompt must be text, got {each!r}: write it into a file and give --prompt_file")
        # an object's weights are those of its text, to 12 digits, as the provenance has it
        read.append(parse_prompt(each if isinstance(each, str) else str(parse_prompt(each))))
    return read


def _read_requests(path: Path, num_images: int, seed: int) -> list[PromptRequest]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"prompt_file '{path}' can't be read ({error.strerror}): correct --prompt_file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"prompt_file '{path}' must be UTF-8 text: save it as such") from error
    if path.suffix.lower() == ".csv":
        requests = _table_requests(path, text, num_images, seed)
    else:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        requests = [PromptRequest(parse_prompt(line), seed, num_images) for line in lines]
    if not requests:
        raise ConfigError(f"prompt_file '{path}' must hold at least one prompt, one a line, got none")
    return requests


def _table_requests(path: Path, text: str, num_images: int, seed: int) -> list[PromptRequest]:
    table = csv.DictReader(text.splitlines())
    columns = list(table.fieldnames or [])
    if "prompt" not in columns or not set(columns) <= set(CSV_COLUMNS):
        raise ConfigError(
            f"prompt_file '{path}' must have the columns prompt and where wanted seed and count, got "
            f"{', '.join(columns) or 'none'}: correct its first line"
        )
    requests = []
    for row in table:
        numbers = {"seed": seed, "count": num_images}
        for column, lowest in (("seed", 0), ("count", 1)):
            written = (row.get(column) or "").strip()
            if written and not (written.isdecimal() and lowest <= int(written) <= MAX_SEED - num_images):
                raise ConfigError(
                    f"prompt_file '{path}' line {table.line_num}: {column} must be a whole number of at least "
                    f"{lowest}, got '{written}'"
                )
            numbers[column] = int(written) if written else numbers[column]
        requests.append(PromptRequest(parse_prompt((row["prompt"] or "").strip()), **numbers))
    return requests


def distinct_names(prompts: Sequence[str]) -> list[str]:
    """Return a file stem for each prompt: its letters and digits joined by '_'; numbered where two would be the same.

    >>> distinct_names(["<prostate_mri_negative>", "a <b> left", "a <b>, left!", ""])
    ['prostate_mri_negative', 'a_b_left', 'a_b_left-2', 'unconditional']
    """
    names: list[str] = []
    for prompt in prompts:
        stem = re.sub(r"\W+", "_", prompt).strip("_")[:LONGEST_NAME].rstrip("_") or "unconditional"
        name, number = stem, 1
        while name.lower() in {other.lower() for other in names}:  # some file systems don't tell case
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return names


class InterpolationRequests(GenerationRequests):
    """Images of ``<first> :1-w AND <second> :w`` at each weight w, of the same seeds ("Medical diffusion", figure 3).

    Items are those of ``GenerationRequests`` with ``"interpolation_weight": w`` beside.

    Args:
        concepts: two texts, usually learned words: the first and the last of the images.
        num_images: seeds, each a row of the figure.
        seed: of the first row.
        weights: weights of the second concept, in order.

    Raises:
        ConfigError: there are not two concepts, or a weight is no number.

    >>> requests = InterpolationRequests(["<a>", "<b>"], 1, 5, weights=[0, 0.25])
    >>> [(item["prompt"].text, item["seed"], item["name"]) for item in requests]
    [('<a> :1 AND <b> :0', 5, 'a_to_b_0_5'), ('<a> :0.75 AND <b> :0.25', 5, 'a_to_b_0.25_5')]
    """

    def __init__(
        self, concepts: Sequence[str], num_images: int, seed: int, weights: Sequence[float] = (0, 0.25, 0.5, 0.75, 1)
    ) -> None:
        texts = [concepts] if isinstance(concepts, str) else list(concepts)
        if len(texts) != 2:
            raise ConfigError(
                f"concepts must name two concepts to interpolate between, got {len(texts)}: "
                "set --concepts \"['<from>','<to>']\""
            )
        shares: list[Any] = list(weights) if isinstance(weights, (list, tuple)) else [weights]
        are_numbers = all(isinstance(share, (int, float)) and not isinstance(share, bool) for share in shares)
        if not shares or not are_numbers:
            raise ConfigError(f"interpolation_weights must be a list of numbers, got {weights!r}")
        first, second = texts
        prompts: list[str | Mapping[str, float]] = [
            str(ComposedPrompt((PromptPart(first, round(1 - share, 12)), PromptPart(second, share))))
            for share in shares
        ]
        super().__init__([], num_images, seed, prompt=prompts)
        self.weights = shares
        stem = "_to_".join(distinct_names(texts))
        for item in self._items:
            share = shares[item["prompt_index"]]
            item.update(interpolation_weight=share, name=f"{stem}_{share:g}_{item['seed']}")
