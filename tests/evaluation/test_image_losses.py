# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.evaluation.membership_inference import ImageLosses
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

LATENTS = torch.randn(5, 4, 4, 4, generator=torch.Generator().manual_seed(0))


def losses(model: FrozenLatentDiffusion, **settings: int) -> ImageLosses:
    return ImageLosses(model, **{"num_draws": 4, **settings}, show_progress=False)


def test_an_image_has_its_loss_in_whatever_company(micro_model: FrozenLatentDiffusion) -> None:
    empty = micro_model.condition_from_prompt("", {})
    together = losses(micro_model)(LATENTS, empty)
    alone = torch.cat([losses(micro_model, batch_size=2)(latent[None], empty) for latent in LATENTS])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_all_images_share_noise_and_timesteps(
    micro_model: FrozenLatentDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def predict(noisy, timesteps, condition):
        seen.append(timesteps)
        return torch.zeros_like(noisy)

    monkeypatch.setattr(micro_model, "predict", predict)
    found = losses(micro_model)(LATENTS, torch.zeros(1, 77, micro_model.width))
    assert len(set(found.tolist())) == 1  # of the noise alone, which is the target
    assert float(found[0]) == pytest.approx(1, abs=0.4)
    assert [len(set(each.tolist())) for each in seen] == [1] * 4
    assert [int(each[0]) // 250 for each in seen] == [0, 1, 2, 3]


def test_another_seed_draws_others(micro_model: FrozenLatentDiffusion) -> None:
    empty = micro_model.condition_from_prompt("", {})
    one, other = (losses(micro_model, seed=seed)(LATENTS, empty) for seed in (0, 1))
    assert not torch.equal(one, other)
