# SPDX-License-Identifier: Apache-2.0
"""Frees the memory of the VAE once the images are encoded."""

from typing import TYPE_CHECKING

from ignite.engine import Engine, Events

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


class VaeReleaser:
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
        """Drop what is not needed any more."""
        if not self.keep_decoder:
            self.model.release_vae()
        elif self.model.vae is not None:
            self.model.vae.register_module("encoder", None)
            self.model.vae.register_module("quant_conv", None)
