# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from training_run import build_run

from medti_components.handlers.preview_painter import PreviewPainter, _side_by_side
from medti_components.handlers.vae_releaser import VaeReleaser
from medti_components.inferers.latent_sampler import LatentSampler
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def test_each_concept_is_painted_at_intervals_and_at_the_end(micro_base: Path, tmp_path: Path) -> None:
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base))
    painter = PreviewPainter(model, LatentSampler(num_inference_steps=2), tmp_path, interval=2, num_images=3)
    trainer = build_run(model, tmp_path, max_steps=5, handlers=(VaeReleaser(model, keep_decoder=True), painter))
    trainer.run()

    expected = {f"micro_{kind}_{step:06d}.png" for kind in ("negative", "positive") for step in (2, 4, 5)}
    assert {path.name for path in (tmp_path / "previews").iterdir()} == expected
    assert Image.open(tmp_path / "previews" / "micro_negative_000005.png").size == (3 * 32, 32)


def test_the_same_rows_are_painted_the_same(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    pictures = []
    for name in ("one", "other"):
        folder = tmp_path / name
        painter = PreviewPainter(micro_model, LatentSampler(num_inference_steps=2), folder, interval=1)
        build_run(micro_model, folder, max_steps=0, handlers=(painter,)).run()
        pictures.append(np.asarray(Image.open(folder / "previews" / "micro_positive_000000.png")))

    assert np.array_equal(*pictures)


def test_painting_changes_nothing_about_the_training(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    painter = PreviewPainter(micro_model, LatentSampler(num_inference_steps=2), tmp_path / "one", interval=1)
    painted, plain = (
        build_run(micro_model, tmp_path / "one", handlers=(painter,)),
        build_run(micro_model, tmp_path / "b"),
    )
    painted.run()
    plain.run()

    assert all(torch.equal(a.rows, b.rows) for a, b in zip(painted.network, plain.network, strict=True))


def test_no_interval_paints_nothing(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    painter = PreviewPainter(micro_model, LatentSampler(num_inference_steps=2), tmp_path, interval=0)
    build_run(micro_model, tmp_path, handlers=(painter,)).run()

    assert not (tmp_path / "previews").exists()


def test_pixels_run_from_black_at_minus_one_to_white_at_one() -> None:
    images = torch.stack([torch.full((3, 2, 2), value) for value in (-1.0, 0.0, 1.0)])

    assert _side_by_side(images)[0, :, 0].tolist() == [0, 0, 128, 128, 255, 255]
