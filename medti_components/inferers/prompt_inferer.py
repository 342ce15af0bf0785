# SPDX-License-Identifier: Apache-2.0
"""From prompts and seeds to images."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from monai.inferers import Inferer
from torch import Tensor
from tqdm import tqdm

from medti_components.inferers.latent_sampler import LatentSampler
from medti_components.networks.embedding_file import EmbeddingFile

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
    """Generates a batch of images, whose prompts may differ, with one call of the UNet a step.

    Args:
        sampler: draws the latents.
        embeddings: the learned words by token.
        negative_prompt: what guidance leads away from; empty as a rule.
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
        self.negative_prompt = negative_prompt
        self.num_batches = num_batches
        self.show_progress = show_progress
        self._conditions: dict[str, Tensor] = {}
        self._progress: tqdm[Any] | None = None

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: "FrozenLatentDiffusion", prompts: Sequence[str]
    ) -> Tensor:
        """Generate one image a seed.

        Args:
            inputs: seeds (B,).
            network: the base model.
            prompts: B prompts.

        Returns:
            Images (B, 3, H, W), float32 in [-1, 1].

        Raises:
            EmbeddingError: a prompt names an unknown concept or is too long.
        """
        unconditional = self._condition(network, self.negative_prompt)
        first, *others = prompts
        if all(prompt == first for prompt in others):
            condition = self._condition(network, first)
        else:
            condition = torch.cat([self._condition(network, prompt) for prompt in prompts])
        if self._progress is None:
            total = self.num_batches * self.sampler.num_calls(network)
            self._progress = tqdm(total=total, desc="generating", unit="step", disable=not self.show_progress)
        progress = self._progress
        latents = self.sampler(network, condition, unconditional, inputs.tolist(), progress=progress)
        images = network.decode(latents)
        if progress.total is not None and progress.n >= progress.total:
            progress.close()
            self._progress = None
        return images

    def check(self, network: "FrozenLatentDiffusion", prompts: Sequence[str]) -> None:
        """Encode all prompts of a run before the first image is begun, so that a fault in the last shows at once.

        Raises:
            EmbeddingError: a prompt names an unknown concept or is too long.
        """
        for prompt in (self.negative_prompt, *prompts):
            self._condition(network, prompt)

    @torch.no_grad()
    def _condition(self, network: "FrozenLatentDiffusion", prompt: str) -> Tensor:
        if prompt not in self._conditions:
            rows = {token: embedding.rows.to(network.device) for token, embedding in self.embeddings.items()}
            self._conditions[prompt] = network.condition_from_prompt(prompt, rows)
        return self._conditions[prompt]
