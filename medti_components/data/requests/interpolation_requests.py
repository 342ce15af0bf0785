# SPDX-License-Identifier: Apache-2.0
"""What an interpolating run is asked for: images between two concepts, each row from one noise."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from medti_components.data.requests.generation_requests import GenerationRequests, distinct_names
from medti_components.errors import ConfigError
from medti_components.inferers.prompt_composition import ComposedPrompt, PromptPart


class InterpolationRequests(Dataset[dict[str, Any]]):
    """Images of ``<first> :1-w AND <second> :w`` at each weight w, of the same seeds ("Medical diffusion", figure 3).

    Items are those of ``GenerationRequests`` with ``"interpolation_weight": w`` beside.

    Args:
        concepts: two texts, as a rule learned words: where the images begin and where they end.
        num_images: seeds, each a row of the figure.
        seed: of the first row.
        weights: weights of the second concept, in order.

    Raises:
        ConfigError: there are not two concepts, or a weight is no number.

    >>> requests = InterpolationRequests(["<a>", "<b>"], 1, 5, weights=[0, 0.25])
    >>> [(item["prompt"], item["seed"], item["name"]) for item in requests]
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
        prompts = [
            str(ComposedPrompt((PromptPart(first, round(1 - share, 12)), PromptPart(second, share))))
            for share in shares
        ]
        requests = GenerationRequests([], num_images, seed, prompt=prompts)  # type: ignore[arg-type]
        self.prompts = requests.prompts
        self.weights = shares
        stem = "_to_".join(distinct_names(texts))
        self._items = [
            item
            | {
                "interpolation_weight": shares[item["prompt_index"]],
                "name": f"{stem}_{shares[item['prompt_index']]:g}_{item['seed']}",
            }
            for item in requests  # type: ignore[attr-defined]
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._items[index]
