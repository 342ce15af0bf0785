# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import torch

from medti_components.handlers.vae_releaser import VaeReleaser
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def test_the_vae_leaves_memory(micro_base: Path) -> None:
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base))

    VaeReleaser(model)()

    assert model.vae is None
    assert not any(name.startswith("vae.") for name, _ in model.named_parameters())


def test_the_decoder_stays_while_previews_are_wanted(micro_base: Path) -> None:
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base))
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    before = model.decode(latents)

    VaeReleaser(model, keep_decoder=True)()

    assert torch.equal(model.decode(latents), before)
    assert not any(name.startswith("vae.encoder.") for name, _ in model.named_parameters())
