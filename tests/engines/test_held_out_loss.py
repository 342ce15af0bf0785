# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from monai.engines import SupervisedEvaluator
from training_run import CONCEPTS, random_latents

from medti_components.engines.held_out_loss import HeldOutLoss
from medti_components.errors import DataError
from medti_components.networks.concept_embedding import ConceptEmbeddings
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

TOKEN = CONCEPTS[0]


def test_the_same_rows_have_the_same_loss_every_time(micro_model: FrozenLatentDiffusion) -> None:
    rows = torch.randn(2, micro_model.width, generator=torch.Generator().manual_seed(0))
    one, other = (HeldOutLoss(micro_model, random_latents()) for _ in range(2))

    assert one.of_rows(TOKEN, rows) == one.of_rows(TOKEN, rows) == other.of_rows(TOKEN, rows)


def test_the_loss_does_not_depend_on_the_batch_size(micro_model: FrozenLatentDiffusion) -> None:
    losses = [HeldOutLoss(micro_model, random_latents(), batch_size=size).of_empty_prompt(TOKEN) for size in (1, 5, 99)]

    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_timesteps_of_all_draws_fill_the_schedule(micro_model: FrozenLatentDiffusion) -> None:
    held_out = HeldOutLoss(micro_model, random_latents(num_cases=5), draws_per_case=4)

    timesteps = torch.cat([batch.timesteps for batch in held_out._batches(TOKEN)])

    assert sorted((timesteps // 50).tolist()) == list(range(20))


def test_a_model_that_predicts_nothing_has_the_loss_of_the_noise_itself(
    micro_model: FrozenLatentDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro_model, "predict", lambda noisy, timesteps, condition: torch.zeros_like(noisy))
    held_out = HeldOutLoss(micro_model, random_latents(num_cases=100))

    assert held_out.of_empty_prompt(TOKEN) == pytest.approx(1.0, abs=4 * (2 / (800 * 64)) ** 0.5)


def test_the_evaluator_reports_the_loss_of_each_concept(micro_model: FrozenLatentDiffusion) -> None:
    held_out = HeldOutLoss(micro_model, random_latents())
    network = ConceptEmbeddings.initialized(CONCEPTS, 2, micro_model, seed=0)
    evaluator = SupervisedEvaluator(
        device="cpu", val_data_loader=list(CONCEPTS), network=network, iteration_update=held_out, decollate=False
    )
    evaluator.run()

    assert evaluator.state.metrics == {
        f"held_out_loss {token}": held_out.of_rows(token, network[token].rows) for token in CONCEPTS
    }


def test_a_concept_without_held_out_images_is_an_error(micro_model: FrozenLatentDiffusion) -> None:
    held_out = HeldOutLoss(micro_model, random_latents((TOKEN,)))

    with pytest.raises(DataError, match="no held-out image for '<other>': set num_validation_cases to 1 or more"):
        held_out.of_empty_prompt("<other>")
