# SPDX-License-Identifier: Apache-2.0
"""Whether a learned word tells which images it was learned from: the part "membership" of an evaluation."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from medti_components.data.latent_cache import LatentCache
from medti_components.engines.denoising_batches import stratified_timesteps
from medti_components.errors import ConfigError, DataError, EmbeddingError
from medti_components.evaluation.evaluation import (
    EvaluatedImages,
    EvaluationPart,
    Images,
    PartResult,
    items_of,
    undetermined,
)
from medti_components.evaluation.verdict import VerdictCheck
from medti_components.losses.denoising_loss import add_noise, denoising_target
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.roc_auc import RocAuc
from medti_components.networks.embedding_files.embedding_file import EmbeddingFile
from medti_components.networks.embedding_files.learned_words import load_embeddings
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion
from medti_components.random_streams import random_stream
from medti_components.visualize.report import Section
from medti_components.visualize.tables import metrics_table

_TITLE = "Membership"
_WORDS = {"loss": "low loss under the word", "gain": "loss that the word saves"}


class ImageLosses:
    """Mean squared error per latent element of each image, over the same draws of noise and timestep for all.

    As all images share the draws, a difference between two of them is not one of luck. The timesteps of the draws fill
    [0, T) evenly; they and the noise depend on ``seed`` alone.

    Args:
        model: the frozen base model.
        num_draws: draws of noise and timestep.
        batch_size: images per call of the model.
        seed: of the draws.
        show_progress: whether a bar with the time left goes to stderr.
    """

    def __init__(
        self,
        model: FrozenLatentDiffusion,
        num_draws: int = 16,
        batch_size: int = 32,
        seed: int = 0,
        show_progress: bool = True,
    ) -> None:
        self.model = model
        self.num_draws = num_draws
        self.batch_size = batch_size
        self.seed = seed
        self.show_progress = show_progress

    @torch.no_grad()
    def __call__(self, latents: Tensor, condition: Tensor, description: str = "denoising") -> Tensor:
        """Return the loss of each of ``latents`` (n, C, h, w) under ``condition`` (1, 77, width), float64 (n,)."""
        generator = random_stream(self.seed, "image losses", self.num_draws)
        alphas_cumprod = self.model.alphas_cumprod.to(latents.device)
        timesteps = stratified_timesteps(self.num_draws, len(alphas_cumprod), generator)
        noises = torch.randn(self.num_draws, *latents.shape[1:], generator=generator)
        total = torch.zeros(len(latents), dtype=torch.float64)
        draws = zip(timesteps, noises, strict=True)
        hidden = not self.show_progress
        for timestep, noise in tqdm(draws, desc=description, total=self.num_draws, unit="draw", disable=hidden):
            for start in range(0, len(latents), self.batch_size):
                part = latents[start : start + self.batch_size]
                times = timestep.to(part.device).expand(len(part))
                own_noise = noise.to(part.device).expand_as(part)
                noisy = add_noise(part, own_noise, times, alphas_cumprod)
                target = denoising_target(part, own_noise, times, alphas_cumprod, self.model.prediction_type)
                error = (self.model.predict(noisy, times, condition).float() - target).square().mean(dim=(1, 2, 3))
                total[start : start + len(part)] += error.double().cpu()
        return total / self.num_draws


class MembershipInference(EvaluationPart):
    """The attack of a stranger who has the word and an image, and asks whether the word was learned from it.

    Two scores an image, both over the same draws of noise and timestep for all images: how low its denoising loss is
    under the word ("loss": Matsumoto et al., "Membership inference attacks against diffusion models", 2023), and how
    much lower than under the empty prompt ("gain"), which leaves out what makes an image easy for the base model
    anyway. The metrics are the areas under the ROC curve of training against held-out images of a concept: 0.5 where
    the word tells nothing.

    Args:
        embeddings: folder of the learned words, a file or several; None leaves the test out.
        base_model: folder or hub id of the base model that they were learned on.
        base_revision: commit, tag or branch on the hub.
        max_auc: limit for the intervals, in [0.5, 1]: sharing is safe where their upper ends don't pass it, not safe
            where a lower end does.
        num_draws: draws of noise and timestep.
        auc: on minus the loss and on the gain.
        dtype: precision of the base model.
        device: where it runs.
        batch_size: images per call of the model.
        seed: of the draws.
        show_progress: whether bars with the time left go to stderr.

    Raises:
        ConfigError: ``max_auc`` is out of range.
    """

    def __init__(
        self,
        embeddings: str | Path | Sequence[str | Path] | None,
        base_model: str,
        base_revision: str | None = None,
        max_auc: float = 0.6,
        num_draws: int = 16,
        auc: RocAuc | None = None,
        dtype: str = "float32",
        device: str | torch.device = "cpu",
        batch_size: int = 32,
        seed: int = 0,
        show_progress: bool = True,
    ) -> None:
        if not 0.5 <= max_auc <= 1:
            raise ConfigError(f"max_membership_auc must be in [0.5, 1], got {max_auc}")
        self.embeddings = embeddings
        self.base_model = base_model
        self.base_revision = base_revision
        self.max_auc = max_auc
        self.num_draws = num_draws
        self.auc = auc or RocAuc()
        self.dtype = dtype
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.seed = seed
        self.show_progress = show_progress

    def __call__(self, images: EvaluatedImages) -> PartResult:
        """Measure.

        Raises:
            BaseModelError: the base model can't be loaded.
            EmbeddingError: a word can't be read, or one is missing.
            DataError: images don't fit the base model, or a concept has none.
        """
        reason = "embeddings is null" if self.embeddings is None else "num_cases is 0"
        if self.embeddings is None or images.training is None:
            check = self._check(None, f"membership in the training of the words not tested, as {reason}")
            return undetermined("membership", _TITLE, reason, [check])
        model = FrozenLatentDiffusion.from_pretrained(
            self.base_model, self.base_revision, dtype=self.dtype, device=str(self.device)
        )
        words = load_embeddings(self.embeddings, model, allow_other_base=None)
        absent = [concept for concept in images.concepts if concept not in words]
        if absent:
            raise EmbeddingError(
                f"embeddings must hold a file of '{absent[0]}', got {', '.join(words)}: set --embeddings"
            )
        sets = {"training": images.training, "held-out": images.reference}
        items = {name: self._fitting(own, model, images.concepts) for name, own in sets.items()}
        latents = {
            name: LatentCache.from_dataset(
                own, model, images.concepts, True, self.show_progress, f"encoding {name} images"
            )
            for name, own in items.items()
        }
        losses = ImageLosses(model, self.num_draws, self.batch_size, self.seed, self.show_progress)
        metrics: dict[str, dict[str, IntervalEstimate]] = {}
        for concept in images.concepts:
            patients = [
                [item["patient_id"] for item in items[name] if item["concept"] == concept]
                for name in ("training", "held-out")
            ]
            scores = self._scores(losses, words[concept], latents)
            metrics[concept] = {
                name: replace(
                    self.auc(*own, (patients[0], patients[1])), counts=dict(zip(sets, map(len, own), strict=True))
                )
                for name, own in scores.items()
            }
        found = [(concept, each) for concept, own in metrics.items() for each in own.values()]
        is_passed: bool | None = False
        worst = max(found, key=lambda each: each[1].low)
        if worst[1].low <= self.max_auc:
            worst = max(found, key=lambda each: each[1].high)
            is_passed = True if worst[1].high <= self.max_auc else None
        says = {True: "does not tell", False: "tells", None: "may tell"}[is_passed]
        statement = f"{worst[0]} {says} its training images: AUC {worst[1]}"
        checks = [self._check(is_passed, statement)]
        return PartResult("membership", metrics, [_section(metrics)], [f"{statement}."], checks)

    def _check(self, is_passed: bool | None, statement: str) -> VerdictCheck:
        return VerdictCheck("membership", is_passed, statement, {"max_membership_auc": self.max_auc})

    def _fitting(self, images: Images, model: FrozenLatentDiffusion, concepts: Sequence[str]) -> list[dict[str, Any]]:
        """Return the items of the concepts, which must be of the base model's size."""
        own = [item for item in items_of(images) if item["concept"] in concepts]
        edge = own[0]["image"].shape[-1] if own else model.image_size
        if edge != model.image_size:
            raise DataError(
                f"membership is tested on images of {model.image_size} pixels, the base model's, got {edge}: set "
                f"--image_size {model.image_size}, or take '@membership' out of parts"
            )
        return own

    def _scores(
        self, losses: ImageLosses, word: EmbeddingFile, latents: dict[str, LatentCache]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Return each score of the word's training images and of its held-out ones."""
        model = losses.model
        with torch.no_grad():
            conditions = {
                "word": model.condition_from_rows(word.rows.to(model.device)),
                "empty prompt": model.condition_from_prompt("", {}),
            }
        under = {
            name: [
                losses(cache.mean[word.token], condition, f"{word.token}, {kind} images, {name}")
                for kind, cache in latents.items()
            ]
            for name, condition in conditions.items()
        }
        by_word, by_none = under["word"], under["empty prompt"]
        return {
            "loss": (-by_word[0], -by_word[1]),
            "gain": (by_none[0] - by_word[0], by_none[1] - by_word[1]),
        }


def _section(metrics: dict[str, dict[str, IntervalEstimate]]) -> Section:
    rows = [(f"{concept}: {_WORDS[name]}", each) for concept, own in metrics.items() for name, each in own.items()]
    return Section(
        _TITLE,
        [
            "Can one who has a word and an image tell whether the word was learned from that image? Area under the ROC "
            "curve of images that it was learned from against held-out ones, by the denoising loss under the word and "
            "by how much lower it is than under the empty prompt. 0.5 is chance, 1 is certainty.",
            metrics_table(rows, "AUC", "word and score"),
        ],
    )
