# SPDX-License-Identifier: Apache-2.0
"""Shows what each word looks like while it is being learned."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from PIL import Image
from torch import Tensor

from medti_components.files import write_atomically
from medti_components.networks.concept_embedding import concept_name
from medti_components.random_streams import stream_seed

if TYPE_CHECKING:
    from medti_components.inferers.latent_sampler import LatentSampler
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


class PreviewPainter:
    """Writes ``previews/<concept>_<step>.png`` every ``interval`` steps and at the end, from the same noise each time.

    It needs the VAE's decoder, which otherwise would leave memory.

    Args:
        model: the base model with its decoder.
        sampler: draws the latents.
        output_dir: the run's folder.
        interval: steps between previews; 0 makes none.
        num_images: images side by side in one picture.
        seed: of the noise.
        summary_writer: TensorBoard's, or None.
    """

    def __init__(
        self,
        model: "FrozenLatentDiffusion",
        sampler: "LatentSampler",
        output_dir: str | Path,
        interval: int,
        num_images: int = 2,
        seed: int = 0,
        summary_writer: Any = None,
    ) -> None:
        self.model = model
        self.sampler = sampler
        self.folder = Path(output_dir) / "previews"
        self.interval = interval
        self.seeds = [stream_seed(seed, "preview", index) for index in range(num_images)]
        self.summary_writer = summary_writer

    def attach(self, engine: Engine) -> None:
        """Paint while ``engine`` runs and at its end."""
        if self.interval < 1:
            return
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self)
        engine.add_event_handler(Events.COMPLETED, self._paint_last)

    @torch.no_grad()
    def __call__(self, engine: Any) -> None:
        """Paint each concept as it is now."""
        step = engine.state.iteration
        unconditional = self.model.condition_from_prompt("", {})
        for embedding in engine.network:
            condition = self.model.condition_from_rows(embedding.rows)
            images = self.model.decode(self.sampler(self.model, condition, unconditional, self.seeds))
            row = _side_by_side(images)
            with write_atomically(self.folder / f"{concept_name(embedding.token)}_{step:06d}.png") as path:
                Image.fromarray(row).save(path)
            if self.summary_writer is not None:
                self.summary_writer.add_image(f"preview/{embedding.token}", row, step, dataformats="HWC")

    def _paint_last(self, engine: Any) -> None:
        if engine.state.iteration == 0 or engine.state.iteration % self.interval:
            self(engine)


def _side_by_side(images: Tensor) -> np.ndarray:
    """Lay images (B, 3, H, W) in [-1, 1] in a row: uint8 (H, B * W, 3)."""
    scaled = ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
    return scaled.permute(2, 0, 3, 1).reshape(scaled.shape[2], -1, 3).numpy()
