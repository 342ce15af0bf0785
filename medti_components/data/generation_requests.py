# SPDX-License-Identifier: Apache-2.0
"""What a generating run is asked for: one prompt and one seed an image."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from medti_components.errors import ConfigError

LONGEST_NAME = 80
MAX_SEED = 2**63 - 1


class GenerationRequests(Dataset[dict[str, Any]]):
    """A list of images to generate, prompt by prompt.

    Items are ``{"prompt": text, "prompt_index": its number, "seed": seed + i, "name": file stem}``. Images of different
    prompts share their seeds, so that a column of the contact sheet starts from one noise.

    Args:
        tokens: the learned words; each alone is a prompt where none is given.
        num_images: images a prompt.
        seed: of the first image of each prompt; the next ones count on.
        prompt: words and concept tokens; "" generates unconditionally.
        prompt_file: text file (UTF-8) with one prompt a line, blank lines left out.

    Raises:
        ConfigError: both ``prompt`` and ``prompt_file`` are given, the file can't be read or holds no prompt, or a
            number is out of range.

    >>> requests = GenerationRequests(["<a>", "<b>"], num_images=2, seed=7)
    >>> [item["name"] for item in requests]
    ['a_7', 'a_8', 'b_7', 'b_8']
    """

    def __init__(
        self,
        tokens: Iterable[str],
        num_images: int,
        seed: int,
        prompt: str | None = None,
        prompt_file: str | Path | None = None,
    ) -> None:
        if isinstance(num_images, bool) or not isinstance(num_images, int) or num_images < 1:
            raise ConfigError(f"num_images must be a whole number of at least 1, got {num_images}")
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED - num_images:
            raise ConfigError(f"seed must be a whole number of at least 0 and below 2**63, got {seed}")
        self.prompts = prompts_of(tokens, prompt, prompt_file)
        names = distinct_names(self.prompts)
        self._items = [
            {"prompt": text, "prompt_index": number, "seed": seed + index, "name": f"{name}_{seed + index}"}
            for number, (text, name) in enumerate(zip(self.prompts, names, strict=True))
            for index in range(num_images)
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._items[index]


def request_batches(dataset: GenerationRequests, batch_size: int) -> "DataLoader[dict[str, Any]]":
    """Return the requests in batches, in order; a batch may reach from one prompt into the next.

    Raises:
        ConfigError: ``batch_size`` is no positive whole number.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"batch_size must be a whole number of at least 1, got {batch_size}")
    return DataLoader(dataset, batch_size=batch_size)


def prompts_of(tokens: Iterable[str], prompt: str | None, prompt_file: str | Path | None) -> list[str]:
    """Return the prompt given, the prompts of the file, or one prompt a learned word.

    Raises:
        ConfigError: see :class:`GenerationRequests`.
    """
    if prompt is not None and prompt_file is not None:
        raise ConfigError("prompt and prompt_file must not both be given: leave one out")
    if prompt_file is not None:
        return _read_prompts(Path(prompt_file))
    if prompt is None:
        return list(tokens)
    if not isinstance(prompt, str):
        raise ConfigError(f"prompt must be text, got {prompt!r}: write it into a file and give --prompt_file")
    return [prompt]


def _read_prompts(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"prompt_file '{path}' can't be read ({error.strerror}): correct --prompt_file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"prompt_file '{path}' must be UTF-8 text: save it as such") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ConfigError(f"prompt_file '{path}' must hold at least one prompt, one a line, got none")
    return prompts


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
