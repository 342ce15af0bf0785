# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_run import build_run, final_rows

from medti_components.inferers.denoising_inferer import DenoisingInferer
from medti_components.networks.concept_embedding import ConceptEmbedding
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def prediction_and_gradient(inferer: DenoisingInferer, batch_size: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embedding = ConceptEmbedding("<nodule>", torch.randn(2, inferer.model.width, generator=generator))
    latents = torch.randn(batch_size, *inferer.model.latent_shape, generator=generator)
    timesteps = torch.randint(1000, (batch_size,), generator=generator)
    prediction = inferer(latents, embedding, timesteps)
    prediction.square().mean().backward()
    return prediction.detach(), embedding.rows.grad


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_recorded_graph_gives_the_models_predictions_and_gradients_to_the_bit(
    micro_model: FrozenLatentDiffusion, batch_size: int
) -> None:
    traced, plain = (DenoisingInferer(micro_model, is_traced=is_traced) for is_traced in (True, False))

    for seed in range(4):
        expected = prediction_and_gradient(plain, batch_size, seed)
        for own, other in zip(expected, prediction_and_gradient(traced, batch_size, seed), strict=True):
            assert torch.equal(own, other)
        assert expected[1].abs().max() > 0


@pytest.mark.parametrize("settings", [{}, {"attention_slicing": True}, {"dtype": "bfloat16"}])
def test_a_run_learns_the_same_rows_with_and_without_a_graph(
    micro_base: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base), **settings)  # type: ignore[arg-type]
    rows = []
    for is_traced in (True, False):
        trainer = build_run(model, tmp_path / str(is_traced), max_steps=6, accumulation_steps=2)
        trainer.inferer = DenoisingInferer(model, is_traced)
        trainer.run()
        rows.append(final_rows(trainer))

    assert rows[0].keys() == rows[1].keys()
    assert all(torch.equal(rows[0][token], rows[1][token]) for token in rows[0])


@pytest.mark.parametrize(
    ("version", "gradient_checkpointing", "is_python_needed"),
    [((3, 13), False, False), ((3, 14), False, True), ((3, 13), True, True)],
)
def test_python_runs_each_step_only_where_a_graph_is_of_no_use(
    micro_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: tuple[int, int],
    gradient_checkpointing: bool,
    is_python_needed: bool,
) -> None:
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base), gradient_checkpointing=gradient_checkpointing)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version_info", version)
        inferer = DenoisingInferer(model)
    calls = []
    model.unet.register_forward_hook(lambda *_: calls.append(1))
    for seed in range(6):
        prediction_and_gradient(inferer, 1, seed)

    assert (len(calls) == 6) is is_python_needed
