# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from training_run import CONCEPTS, random_latents

from medti_components.data.latent_cache import LatentCache
from medti_components.engines.denoising_batches import DenoisingBatches, stratified_timesteps
from medti_components.errors import ConfigError, DataError
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion
from medti_components.random_streams import random_stream

TOKEN = CONCEPTS[0]


def test_a_batch_is_a_function_of_seed_concept_and_step(micro_model: FrozenLatentDiffusion) -> None:
    one, other = (DenoisingBatches(random_latents(), micro_model, batch_size=2) for _ in range(2))
    one((TOKEN, 0))  # what was drawn before does not matter

    torch.testing.assert_close(one((TOKEN, 5)).noisy_latents, other((TOKEN, 5)).noisy_latents, rtol=0, atol=0)
    assert not torch.equal(one((TOKEN, 5)).noisy_latents, one((TOKEN, 6)).noisy_latents)
    assert not torch.equal(one((TOKEN, 5)).target, one((CONCEPTS[1], 5)).target)


def test_every_case_is_visited_once_an_epoch_whatever_the_batch_size(micro_model: FrozenLatentDiffusion) -> None:
    num_cases = 5
    mean = torch.arange(num_cases, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 4, 4, 4)
    latents = LatentCache({TOKEN: mean}, {TOKEN: torch.zeros_like(mean)}, {TOKEN: [str(n) for n in range(num_cases)]})
    for batch_size in (1, 2, 5, 7):
        batches = DenoisingBatches(latents, micro_model, batch_size)
        visited = torch.cat([batches._case_indices(TOKEN, step) for step in range(num_cases * 2)])
        for epoch in visited.split(num_cases):
            assert sorted(epoch.tolist()) == list(range(num_cases))


def test_timesteps_fill_the_schedule_in_equal_parts() -> None:
    timesteps = stratified_timesteps(10, 1000, torch.Generator().manual_seed(0))

    assert (timesteps // 100).tolist() == list(range(10))


def test_a_timestep_on_its_own_is_uniform() -> None:
    drawn = torch.cat([stratified_timesteps(1, 1000, random_stream(0, number)) for number in range(2000)])

    assert 0 <= drawn.min() < 10 and 990 <= drawn.max() < 1000
    assert abs(drawn.float().mean() - 499.5) < 4 * 288.7 / 2000**0.5  # four standard errors


def test_noisy_latents_mix_latent_and_noise_by_the_schedule(micro_model: FrozenLatentDiffusion) -> None:
    batches = DenoisingBatches(random_latents(num_cases=1), micro_model, batch_size=3, sample_posterior=False)

    batch = batches((TOKEN, 0))

    alpha = micro_model.alphas_cumprod[batch.timesteps].reshape(-1, 1, 1, 1)
    expected = alpha.sqrt() * random_latents(num_cases=1).mean[TOKEN] + (1 - alpha).sqrt() * batch.target
    torch.testing.assert_close(batch.noisy_latents, expected)


def test_sampling_the_posterior_adds_its_standard_deviation(micro_model: FrozenLatentDiffusion) -> None:
    latents = random_latents(num_cases=1)
    sampled = DenoisingBatches(latents, micro_model, batch_size=500)((TOKEN, 0))
    mean_only = DenoisingBatches(latents, micro_model, batch_size=500, sample_posterior=False)((TOKEN, 0))

    alpha = micro_model.alphas_cumprod[sampled.timesteps].reshape(-1, 1, 1, 1)
    spread = (sampled.noisy_latents - mean_only.noisy_latents) / alpha.sqrt()

    assert torch.equal(sampled.timesteps, mean_only.timesteps) and torch.equal(sampled.target, mean_only.target)
    assert spread.std().item() == pytest.approx(0.1, rel=0.05)


def test_accumulation_sees_the_samples_of_the_larger_batch(micro_model: FrozenLatentDiffusion) -> None:
    whole = DenoisingBatches(random_latents(), micro_model, batch_size=6)((TOKEN, 3))
    parts = DenoisingBatches(random_latents(), micro_model, batch_size=2, accumulation_steps=3)((TOKEN, 3)).split(3)

    assert [len(part.timesteps) for part in parts] == [2, 2, 2]
    assert torch.equal(torch.cat([part.noisy_latents for part in parts]), whole.noisy_latents)


@pytest.mark.parametrize("key", ["batch_size", "accumulation_steps"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_sizes_that_are_no_positive_integers_are_an_error(
    micro_model: FrozenLatentDiffusion, key: str, value: object
) -> None:
    with pytest.raises(ConfigError, match=f"{key} must be a positive integer, got {value!r}"):
        DenoisingBatches(random_latents(), micro_model, **{key: value})  # type: ignore[arg-type]


def test_a_concept_without_cases_is_an_error(micro_model: FrozenLatentDiffusion) -> None:
    latents = LatentCache({TOKEN: torch.zeros(0, 4, 4, 4)}, {TOKEN: torch.zeros(0, 4, 4, 4)}, {TOKEN: []})

    with pytest.raises(DataError, match=f"no image for '{TOKEN}': check dataset_dir, concepts and num_cases"):
        DenoisingBatches(latents, micro_model)((TOKEN, 0))
