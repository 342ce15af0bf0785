# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from training_run import build_run

from medti_components.handlers.preview_saver import PreviewSaver, VaeReleaseHandler
from medti_components.inferers.latent_sampler import LatentSampler
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def test_each_concept_is_saved_at_intervals_and_at_the_end(micro_base: Path, tmp_path: Path) -> None:
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base))
    saver = PreviewSaver(model, LatentSampler(num_inference_steps=2), tmp_path, interval=2, num_images=3)
    trainer = build_run(model, tmp_path, max_steps=5, handlers=(VaeReleaseHandler(model, keep_decoder=True), saver))
    trainer.run()

    expected = {f"micro_{kind}_{step:06d}.png" for kind in ("negative", "positive") for step in (2, 4, 5)}
    assert {path.name for path in (tmp_path / "previews").iterdir()} == expected
    assert Image.open(tmp_path / "previews" / "micro_negative_000005.png").size == (3 * 32, 32)


def test_the_same_rows_give_the_same_preview(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    pictures = []
    for name in ("one", "other"):
        folder = tmp_path / name
        saver = PreviewSaver(micro_model, LatentSampler(num_inference_steps=2), folder, interval=1)
        build_run(micro_model, folder, max_steps=0, handlers=(saver,)).run()
        pictures.append(np.asarray(Image.open(folder / "previews" / "micro_positive_000000.png")))

    assert np.array_equal(*pictures)


def test_previews_change_nothing_about_the_training(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    saver = PreviewSaver(micro_model, LatentSampler(num_inference_steps=2), tmp_path / "one", interval=1)
    painted, plain = (
        build_run(micro_model, tmp_path / "one", handlers=(saver,)),
        build_run(micro_model, tmp_path / "b"),
    )
    painted.run()
    plain.run()

    assert all(torch.equal(a.rows, b.rows) for a, b in zip(painted.network, plain.network, strict=True))


def test_no_interval_saves_nothing(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    saver = PreviewSaver(micro_model, LatentSampler(num_inference_steps=2), tmp_path, interval=0)
    build_run(micro_model, tmp_path, handlers=(saver,)).run()

    assert not (tmp_path / "previews").exists()


def test_the_vae_leaves_memory(micro_base: Path) -> None:
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base))

    VaeReleaseHandler(model)()

    assert model.vae is None
    assert not any(name.startswith("vae.") for name, _ in model.named_parameters())


def test_the_decoder_stays_while_previews_are_wanted(micro_base: Path) -> None:
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base))
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    before = model.decode(latents)

    VaeReleaseHandler(model, keep_decoder=True)()

    assert torch.equal(model.decode(latents), before)
    assert not any(name.startswith("vae.encoder.") for name, _ in model.named_parameters())
