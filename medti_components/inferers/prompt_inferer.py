# SPDX-License-Identifier: Apache-2.0
"""From prompts and seeds to images."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from monai.inferers import Inferer
from torch import Tensor
from tqdm import tqdm

from medti_components.errors import PromptError
from medti_components.inferers.latent_sampler import LatentSampler
from medti_components.inferers.prompt_composition import ComposedPrompt, PromptPart, parse_prompt
from medti_components.networks.embedding_files.embedding_file import EmbeddingFile
from medti_components.networks.shared_condition_attention import ProjectedCondition

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def prepare_requests(
    batch: Mapping[str, Any], device: Any = None, non_blocking: bool = False, **kwargs: Any
) -> tuple[Tensor, None, tuple[()], dict[str, Any]]:
    """Lay out a batch of generation requests as MONAI's evaluator hands it on: seeds (B,), then the prompts.

    Seeds stay on the CPU, where the noise is drawn on every device.
    """
    del device, non_blocking, kwargs
    return torch.as_tensor(batch["seed"]), None, (), {"prompts": list(batch["prompt"])}


class PromptInferer(Inferer):
    """Generates a batch of images, whose prompts may differ, with one call of the UNet per step.

    A prompt may be composed of weighted parts, see :func:`parse_prompt`; each text is encoded, and its keys and values
    are projected, once per run.

    Args:
        sampler: draws the latents.
        embeddings: the learned words by token.
        negative_prompt: what guidance leads away from, not composed; usually empty.
        num_batches: how many batches the run has, for the progress bar.
        show_progress: show a bar over all steps of all batches, with the time left, on stderr.
    """

    def __init__(
        self,
        sampler: LatentSampler,
        embeddings: Mapping[str, EmbeddingFile],
        negative_prompt: str = "",
        num_batches: int = 1,
        show_progress: bool = True,
    ) -> None:
        super().__init__()
        self.sampler = sampler
        self.embeddings = embeddings
        self.negative_prompt = parse_prompt(negative_prompt)
        self.num_batches = num_batches
        self.show_progress = show_progress
        self._conditions: dict[str, ProjectedCondition] = {}
        self._progress: tqdm[Any] | None = None

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: "FrozenLatentDiffusion", prompts: Sequence[ComposedPrompt]
    ) -> Tensor:
        """Generate one image per seed.

        Args:
            inputs: seeds (B,).
            network: the base model.
            prompts: B prompts; all have the same number of parts whose weight is not 0.

        Returns:
            Images (B, 3, H, W), float32 in [-1, 1].

        Raises:
            PromptError: a prompt can't be read, names an unknown concept or is too long.
        """
        conditions, weights = self.composed(network, prompts)
        unconditional = self._condition(network, self.negative_prompt, self.negative_prompt.parts[0])
        if self._progress is None:
            total = self.num_batches * self.sampler.num_calls(network)
            self._progress = tqdm(total=total, desc="generating", unit="step", disable=not self.show_progress)
        progress = self._progress
        latents = self.sampler(network, conditions, unconditional, inputs.tolist(), weights, progress=progress)
        images = network.decode(latents)
        if progress.total is not None and progress.n >= progress.total:
            progress.close()
            self._progress = None
        return images

    def check(self, network: "FrozenLatentDiffusion", prompts: Sequence[ComposedPrompt]) -> None:
        """Encode all prompts of a run before the first image is begun, so that a fault in the last shows at once.

        A prompt that uses none of the learned words is logged as a warning.

        Raises:
            PromptError: a prompt can't be read, names an unknown concept, or a learned word without its brackets, or is
                too long.
        """
        negative = self.negative_prompt
        if len(negative.parts) > 1 or negative.weights != (1.0,):
            raise negative.fault(
                "negative_prompt must be one text without a weight: compose in prompt", negative.parts[-1]
            )
        for prompt in (negative, *prompts):
            for part in prompt.parts:
                _ensure_brackets(prompt, part, self.embeddings)
                self._condition(network, prompt, part)
        for text, prompt in {prompt.text: prompt for prompt in prompts}.items():
            if self.embeddings and text.strip() and not any(token in text for token in self.embeddings):
                known = ", ".join(self.embeddings)
                logger.warning("prompt '%s' uses none of the learned words, which are %s", prompt.text, known)

    def composed(
        self, network: "FrozenLatentDiffusion", prompts: Sequence[ComposedPrompt]
    ) -> tuple[list[ProjectedCondition], list[float | Tensor]]:
        """Return the conditions and weights of a batch of prompts, one per part, as the sampler takes them."""
        used = [[part for part in prompt.parts if part.weight != 0] for prompt in prompts]
        if all(prompt.text == prompts[0].text for prompt in prompts):
            return [self._condition(network, prompts[0], part) for part in used[0]], [part.weight for part in used[0]]
        conditions: list[ProjectedCondition] = []
        weights: list[float | Tensor] = []
        for parts in zip(*used, strict=True):  # the first parts of all images, the second ones, ...
            each = [self._condition(network, prompt, part) for prompt, part in zip(prompts, parts, strict=True)]
            conditions.append(ProjectedCondition.joined(each))
            weights.append(torch.tensor([part.weight for part in parts]))
        return conditions, weights

    @torch.no_grad()
    def _condition(
        self, network: "FrozenLatentDiffusion", prompt: ComposedPrompt, part: PromptPart
    ) -> ProjectedCondition:
        if part.text not in self._conditions:
            rows = {token: embedding.rows.to(network.device) for token, embedding in self.embeddings.items()}
            try:
                condition = network.condition_from_prompt(part.text, rows)
            except PromptError as error:
                raise prompt.fault(error.message, part, error.position) from error
            self._conditions[part.text] = network.project_condition(condition)
        return self._conditions[part.text]


def _ensure_brackets(prompt: ComposedPrompt, part: PromptPart, tokens: Iterable[str]) -> None:
    """Check that no learned word stands in a text without its brackets, where it would be read letter by letter.

    A word of letters alone, such as ``nodule``, may be meant as it stands.
    """
    known = {token.strip("<>").lower(): token for token in tokens}
    unlike_words = [re.escape(name) for name in known if not name.isalpha()]
    names = "|".join(sorted(unlike_words, key=len, reverse=True)) or "(?!)"
    pattern = rf"\bembedding:\s*<?([\w-]*)>?|(?<![\w-])({names})(?![\w-])"
    for found in re.finditer(pattern, part.text, re.IGNORECASE):
        if part.text[max(found.start() - 1, 0) : found.end() + 1] == f"<{found.group()}>":
            continue
        name = found[1] or found[2] or ""
        wanted = known.get(name.lower()) or f"one of {', '.join(known.values()) or 'none'}"
        raise prompt.fault(
            f"'{found.group()}' is text and no learned word: write {wanted}, in brackets", part, found.start()
        )
