# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.inferers.guidance import GuidedPrediction, compose_guidance
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


@pytest.fixture(scope="module")
def model(micro_base):
    return FrozenLatentDiffusion.from_pretrained(str(micro_base))


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def predictions(count: int) -> list[torch.Tensor]:
    return [drawn(2, 4, 4, 4, seed=seed).double() for seed in range(count)]


def test_one_condition_is_ordinary_guidance():
    unconditional, conditional = predictions(2)
    expected = unconditional + 7.5 * (conditional - unconditional)
    torch.testing.assert_close(compose_guidance(unconditional, [conditional], [1.0], 7.5), expected)


def test_several_conditions_follow_the_formula():
    unconditional, first, second = predictions(3)
    expected = unconditional + 0.5 * 3 * (first - unconditional) - 0.25 * 3 * (second - unconditional)
    torch.testing.assert_close(compose_guidance(unconditional, [first, second], [0.5, -0.25], 3.0), expected)


def test_order_of_conditions_is_irrelevant_and_weight_zero_equals_absence():
    unconditional, first, second = predictions(3)
    one_way = compose_guidance(unconditional, [first, second], [0.5, 0.75], 2.0)
    torch.testing.assert_close(compose_guidance(unconditional, [second, first], [0.75, 0.5], 2.0), one_way)
    alone = compose_guidance(unconditional, [first], [0.5], 2.0)
    torch.testing.assert_close(compose_guidance(unconditional, [first, second], [0.5, 0.0], 2.0), alone)


def test_guidance_is_affine_so_that_it_holds_for_v_as_for_epsilon():
    # v = (epsilon - sqrt(1 - abar) x_t) / sqrt(abar) is affine in epsilon: guiding v or epsilon comes to the same
    noisy, unconditional, conditional = predictions(3)

    def velocity(epsilon: torch.Tensor) -> torch.Tensor:
        return (epsilon - 0.6 * noisy) / 0.8

    torch.testing.assert_close(
        compose_guidance(velocity(unconditional), [velocity(conditional)], [1.0], 3.0),
        velocity(compose_guidance(unconditional, [conditional], [1.0], 3.0)),
    )


def test_guidance_one_is_the_conditional_prediction():
    unconditional, conditional = predictions(2)
    assert torch.equal(compose_guidance(unconditional, [conditional], [1.0], 1.0), conditional)


def test_as_many_weights_as_conditions_are_needed():
    unconditional, first, second = predictions(3)
    with pytest.raises(ValueError, match=r"weights must have shape \(2,\), one per condition, got \(1,\)"):
        compose_guidance(unconditional, [first, second], [1.0], 2.0)


def plain(model, latents, timestep, conditions, weights, scale):
    with torch.no_grad():
        unconditional, *conditionals = (model.predict(latents, timestep, condition) for condition in conditions)
    return compose_guidance(unconditional, conditionals, weights, scale)


@pytest.mark.parametrize("batch_of_condition", [1, 3])
@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.75], [1.0, -0.5]])
def test_one_call_gives_what_a_call_for_each_condition_gives(model, weights, batch_of_condition):
    latents, timestep, unconditional = drawn(3, 4, 4, 4), torch.tensor(500), drawn(1, 77, 32, seed=1)
    conditionals = [drawn(batch_of_condition, 77, 32, seed=2 + index) for index in range(len(weights))]
    guided = GuidedPrediction(model, conditionals, weights, unconditional, 3.0, batch_size=3)
    expected = plain(model, latents, timestep, [unconditional, *conditionals], weights, 3.0)
    torch.testing.assert_close(guided(latents, timestep), expected, rtol=1e-5, atol=1e-4)


def count_rows(model, monkeypatch) -> list[int]:
    rows = []
    forward = model.unet.forward

    def counted(sample, *args, **kwargs):
        rows.append(len(sample))
        return forward(sample, *args, **kwargs)

    monkeypatch.setattr(model.unet, "forward", counted)
    return rows


@pytest.mark.parametrize(
    ("weights", "scale", "rows"),
    [
        ([1.0], 2.0, 4),
        ([1.0], 1.0, 2),
        ([0.5, 0.5], 1.0, 4),
        ([0.5, 0.5], 2.0, 6),
        ([1.0, 0.0], 2.0, 4),
        ([1.0], 0.0, 4),
    ],
)
def test_one_unet_call_with_no_rows_that_cancel(model, monkeypatch, weights, scale, rows):
    counted = count_rows(model, monkeypatch)
    conditionals = [drawn(1, 77, 32, seed=index) for index in range(len(weights))]
    guided = GuidedPrediction(model, conditionals, weights, drawn(1, 77, 32, seed=9), scale, batch_size=2)
    with torch.no_grad():
        guided(drawn(2, 4, 4, 4), torch.tensor(5))
    assert counted == [rows]


def test_weights_may_differ_from_image_to_image():
    unconditional, first, second = predictions(3)
    weights = [torch.tensor([0.5, 1.0]), torch.tensor([-0.5, 0.25])]
    together = compose_guidance(unconditional, [first, second], weights, 3.0)
    for index in range(2):
        alone = [part[index : index + 1] for part in (unconditional, first, second)]
        expected = compose_guidance(alone[0], alone[1:], [float(weight[index]) for weight in weights], 3.0)
        torch.testing.assert_close(together[index : index + 1], expected)


def test_guidance_applies_within_its_interval_of_noise_levels_alone(model, monkeypatch):
    alphas = model.alphas_cumprod
    sigmas = ((1 - alphas) / alphas).sqrt()
    interval = (float(sigmas[300]) - 1e-3, float(sigmas[600]) + 1e-3)
    counted = count_rows(model, monkeypatch)
    guided = GuidedPrediction(
        model, [drawn(1, 77, 32)], [1.0], drawn(1, 77, 32, seed=1), 3.0, batch_size=2, guidance_interval=interval
    )
    with torch.no_grad():
        for timestep in (299, 300, 600, 601):
            guided(drawn(2, 4, 4, 4), torch.tensor(timestep))
    assert counted == [2, 4, 4, 2]  # outside, guidance is 1 and the unconditional prediction cancels


def test_conditions_are_projected_when_the_object_is_made(model, monkeypatch):
    guided = GuidedPrediction(model, [drawn(1, 77, 32)], [1.0], drawn(1, 77, 32, seed=1), 2.0, batch_size=1)
    monkeypatch.setattr(type(model), "project_condition", None)
    with torch.no_grad():
        assert guided(drawn(1, 4, 4, 4), torch.tensor(5)).shape == (1, 4, 4, 4)
