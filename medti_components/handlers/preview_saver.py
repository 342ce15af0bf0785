# SPDX-License-Identifier: Apache-2.0
"""Shows what each word looks like while it is being learned, with the VAE's decoder alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from PIL import Image

from medti_components.files import write_atomically
from medti_components.networks.embedding_files.embedding_file import concept_name
from medti_components.random_streams import stream_seed
from medti_components.transforms.eight_bit_picture import to_pixels

if TYPE_CHECKING:
    from medti_components.inferers.latent_sampler import LatentSampler
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


class PreviewSaver:
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
        """Save while ``engine`` runs and at its end."""
        if self.interval < 1:
            return
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self)
        engine.add_event_handler(Events.COMPLETED, self._save_last)

    @torch.no_grad()
    def __call__(self, engine: Any) -> None:
        """Generate and save images of each concept as it is now."""
        step = engine.state.iteration
        unconditional = self.model.condition_from_prompt("", {})
        for embedding in engine.network:
            condition = self.model.condition_from_rows(embedding.rows)
            images = self.model.decode(self.sampler(self.model, condition, unconditional, self.seeds))
            row = np.concatenate([to_pixels(image) for image in images], axis=1)
            with write_atomically(self.folder / f"{concept_name(embedding.token)}_{step:06d}.png") as path:
                Image.fromarray(row).save(path)
            if self.summary_writer is not None:
                self.summary_writer.add_image(f"preview/{embedding.token}", row, step, dataformats="HWC")

    def _save_last(self, engine: Any) -> None:
        if engine.state.iteration == 0 or engine.state.iteration % self.interval:
            self(engine)


class VaeReleaseHandler:
    """Drops the VAE when training starts; only its encoder when previews have to be decoded.

    Args:
        model: the base model.
        keep_decoder: True while previews are wanted.
    """

    def __init__(self, model: "FrozenLatentDiffusion", keep_decoder: bool = False) -> None:
        self.model = model
        self.keep_decoder = keep_decoder

    def attach(self, engine: Engine) -> None:
        """Act when ``engine`` starts."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine | None = None) -> None:
        """Drop what is no longer needed."""
        if not self.keep_decoder:
            self.model.release_vae()
        elif self.model.vae is not None:
            self.model.vae.register_module("encoder", None)
            self.model.vae.register_module("quant_conv", None)
