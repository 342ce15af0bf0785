# SPDX-License-Identifier: Apache-2.0
"""Writes the learned embeddings at the end of a run."""

import hashlib
import json
import logging
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ignite.engine import Engine, Events

import medti_components
from medti_components.data.latent_cache import LatentCache
from medti_components.engines.training_history import TrainingHistory
from medti_components.networks.embedding_files.embedding_file import concept_name, save_embedding
from medti_components.networks.embedding_files.trained_cases import TrainedCases

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

logger = logging.getLogger(__name__)

LIBRARIES = ("torch", "diffusers", "transformers", "monai")


class EmbeddingSaver:
    """Writes ``embeddings/<concept>.safetensors`` with its provenance; a run of no steps writes the initial rows.

    Args:
        model: the base model that the words belong to.
        latents: the training images.
        history: gives the held-out loss.
        output_dir: the run's folder.
        provenance: further facts, each made a string, JSON where it is a list: seed, preprocessing, data licence ...
    """

    def __init__(
        self,
        model: "FrozenLatentDiffusion",
        latents: LatentCache,
        history: TrainingHistory,
        output_dir: str | Path,
        provenance: Mapping[str, Any],
    ) -> None:
        self.model = model
        self.latents = latents
        self.history = history
        self.folder = Path(output_dir) / "embeddings"
        self.provenance = dict(provenance)

    def attach(self, engine: Engine) -> None:
        """Save when ``engine`` completes."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Write one file per concept.

        Raises:
            EmbeddingError: rows are not finite.
            OutputError: a file can't be written.
        """
        for embedding in engine.network:
            path = self.folder / f"{concept_name(embedding.token)}.safetensors"
            salt = hashlib.sha256(embedding.rows.detach().float().cpu().numpy().tobytes()).hexdigest()[:32]
            cases = TrainedCases.of(self.latents.cases(embedding.token), salt)
            metadata = self.metadata(embedding.token, engine.state.iteration) | cases.metadata
            save_embedding(path, embedding.token, embedding.rows, metadata)
            logger.info("wrote '%s'", path)

    def metadata(self, token: str, steps: int) -> dict[str, str]:
        """Return the provenance of a concept's rows after ``steps`` steps."""
        facts: dict[str, Any] = {
            "base_model": self.model.name,
            "base_model_sha256": self.model.fingerprint,
            "prediction_type": self.model.prediction_type,
            "steps": steps,
            "num_cases": self.latents.num_cases(token),
            **({"masks": masks} if (masks := self.latents.masks(token)) else {}),
            **self.provenance,
            "medti_version": medti_components.__version__,
            **{f"{library}_version": version(library) for library in LIBRARIES},
        }
        latest = self.history.latest("held_out_loss", token)
        if latest is not None:
            facts["held_out_loss"] = f"{latest[1]:.6f}"
            for name, losses in self.history.references.items():
                facts[f"held_out_loss_of_{name.replace(' ', '_')}"] = f"{losses[token]:.6f}"
        return {key: json.dumps(value) if isinstance(value, list) else str(value) for key, value in facts.items()}
