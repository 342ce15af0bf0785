# SPDX-License-Identifier: Apache-2.0
import json
import shutil

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from monai.networks.utils import copy_model_state

from medti_components.errors import BaseModelError, ConfigError, PromptError
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion
from medti_components.networks.shared_condition_attention import share_conditions


@pytest.fixture(scope="module")
def model(micro_base):
    return FrozenLatentDiffusion.from_pretrained(str(micro_base))


@pytest.fixture(scope="module")
def pipeline(micro_base):
    return StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_facts_of_the_model_are_read_from_its_folder(model, pipeline):
    assert model.name == "micro_base"
    assert model.image_size == 32
    assert model.latent_shape == (4, 4, 4)
    assert model.width == 32
    assert model.max_vectors == 75
    assert model.prediction_type == "epsilon"
    assert model.dtype == torch.float32
    assert model.device == torch.device("cpu")
    assert torch.equal(model.alphas_cumprod, pipeline.scheduler.alphas_cumprod)
    assert len(model.fingerprint) == 64


def test_v_prediction_is_read_from_the_scheduler(micro_base_v):
    assert FrozenLatentDiffusion.from_pretrained(str(micro_base_v)).prediction_type == "v_prediction"


def test_nothing_is_trainable_and_train_mode_is_refused(model):
    assert not any(parameter.requires_grad for parameter in model.parameters())
    model.train()
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize(("dtype", "vae_dtype"), [("bfloat16", torch.bfloat16), ("float16", torch.float32)])
def test_parts_take_the_asked_precision_and_the_fingerprint_stays(model, micro_base, dtype, vae_dtype):
    half = FrozenLatentDiffusion.from_pretrained(str(micro_base), dtype=dtype)
    expected = getattr(torch, dtype)
    for part, precision in ((half.unet, expected), (half.text_encoder, expected), (half.vae, vae_dtype)):
        assert {parameter.dtype for parameter in part.parameters()} == {precision}
    assert half.dtype == expected
    assert half.fingerprint == model.fingerprint
    assert half.alphas_cumprod.dtype == torch.float32


def test_half_precision_predicts_nearly_the_same_and_trains_float32_rows(model, micro_base):
    half = FrozenLatentDiffusion.from_pretrained(str(micro_base), dtype="bfloat16")
    rows = drawn(3, 32).requires_grad_()
    latents, timesteps = drawn(2, 4, 4, 4, seed=1), torch.tensor([10, 900])
    prediction = half.predict(latents, timesteps, half.condition_from_rows(rows))
    assert prediction.dtype == torch.float32
    expected = model.predict(latents, timesteps, model.condition_from_rows(rows))
    assert bool((prediction - expected).abs().mean() < 0.05 * expected.abs().mean())
    prediction.square().mean().backward()
    assert rows.grad is not None
    assert rows.grad.dtype == torch.float32
    assert bool(torch.isfinite(rows.grad).all())


def test_checkpoint_stored_in_half_precision_is_loaded_in_the_asked_one(micro_base, tmp_path):
    folder = shutil.copytree(micro_base, tmp_path / "half")
    StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None).to(torch.float16).save_pretrained(folder)
    model = FrozenLatentDiffusion.from_pretrained(str(folder))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_encode_gives_mean_and_deviation_of_scaled_latents(model, pipeline):
    images = drawn(2, 3, 32, 32).clamp(-1, 1)
    mean, std = model.encode(images)
    with torch.no_grad():
        posterior = pipeline.vae.encode(images).latent_dist
    torch.testing.assert_close(mean, posterior.mean * 0.18215)
    torch.testing.assert_close(std, posterior.std * 0.18215)


def test_decode_gives_images_in_range(model, pipeline):
    latents = 4 * drawn(2, 4, 4, 4)
    images = model.decode(latents)
    with torch.no_grad():
        expected = pipeline.vae.decode(latents / 0.18215).sample
    torch.testing.assert_close(images, expected.clamp(-1, 1))
    assert images.shape == (2, 3, 32, 32)


def test_released_vae_is_gone_and_says_so(micro_base):
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base))
    model.release_vae()
    assert model.vae is None
    with pytest.raises(BaseModelError, match="the VAE of '.*' was released: load the model again"):
        model.encode(torch.zeros(1, 3, 32, 32))
    with pytest.raises(BaseModelError, match="the VAE of '.*' was released"):
        model.decode(torch.zeros(1, 4, 4, 4))


@pytest.mark.parametrize("count", [1, 5, 75])
def test_condition_from_rows_is_what_diffusers_encodes_for_the_token_alone(model, micro_base, count):
    rows = drawn(count, 32)
    pipeline = StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None)
    pipeline.load_textual_inversion({"<nodule>": rows})
    expected, _ = pipeline.encode_prompt("<nodule>", "cpu", 1, False)
    torch.testing.assert_close(model.condition_from_rows(rows), expected, rtol=0, atol=1e-6)


def test_conditions_of_several_concepts_in_one_pass_equal_those_of_each(model):
    first, second = drawn(3, 32).requires_grad_(), drawn(5, 32, seed=1).requires_grad_()
    together = model.condition_from_rows(first, second)
    torch.testing.assert_close(together[:1], model.condition_from_rows(first), rtol=0, atol=1e-6)
    torch.testing.assert_close(together[1:], model.condition_from_rows(second), rtol=0, atol=1e-6)
    (gradient,) = torch.autograd.grad(together[0].square().sum(), second, allow_unused=True)
    assert float(gradient.abs().max()) == 0.0


def test_condition_from_a_prompt_mixes_words_and_concepts(model, micro_base):
    embeddings = {"<a>": drawn(2, 32), "<b>": drawn(3, 32, seed=1)}
    pipeline = StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None)
    pipeline.load_textual_inversion(dict([next(iter(embeddings.items()))]))
    pipeline.load_textual_inversion({"<b>": embeddings["<b>"]})
    for prompt in ("", "two Rings", "<a> and <b>", "big <b>, <a>!", "<a><b>", "1 < 2 <a>"):
        expected, _ = pipeline.encode_prompt(prompt, "cpu", 1, False)
        torch.testing.assert_close(model.condition_from_prompt(prompt, embeddings), expected, rtol=0, atol=1e-6)


def test_gradients_reach_each_row_of_a_prompt(model):
    rows = drawn(3, 32).requires_grad_()
    model.condition_from_prompt("two <a>", {"<a>": rows}).square().sum().backward()
    assert rows.grad is not None
    assert bool((rows.grad.abs().sum(dim=1) > 0).all())


def test_unknown_concept_in_a_prompt_lists_the_known_ones(model):
    with pytest.raises(PromptError, match="unknown concept '<c>': known are <a>, <b>"):
        model.condition_from_prompt("a <c>", {"<b>": drawn(1, 32), "<a>": drawn(1, 32)})
    with pytest.raises(PromptError, match="known are none"):
        model.condition_from_prompt("<c>", {})


def test_prompt_that_is_too_long_is_an_error_not_a_cut(model):
    with pytest.raises(PromptError, match="a text takes 76 positions, the text encoder has 75: shorten it"):
        model.condition_from_rows(drawn(76, 32))
    assert model.condition_from_prompt("a " * 75, {}).shape == (1, 77, 32)
    with pytest.raises(PromptError, match="takes 76 positions"):
        model.condition_from_prompt("a " * 76, {})


@pytest.mark.parametrize("count", [1, 2, 4])
def test_shared_conditions_equal_the_expanded_unet_call_and_its_gradient(model, pipeline, count):
    latents, timesteps = drawn(4, 4, 4, 4), torch.tensor([1, 100, 500, 999])
    condition = drawn(count, 77, 32, seed=1).requires_grad_()
    prediction = model.predict(latents, timesteps, condition)
    expanded = condition.detach().clone().requires_grad_()
    repeated = expanded.repeat_interleave(4 // count, dim=0)
    expected = pipeline.unet(latents, timesteps, encoder_hidden_states=repeated).sample
    torch.testing.assert_close(prediction, expected, rtol=0, atol=1e-5)
    weights = drawn(4, 4, 4, 4, seed=2)
    (prediction * weights).sum().backward()
    (expected * weights).sum().backward()
    assert condition.grad is not None
    torch.testing.assert_close(condition.grad, expanded.grad, rtol=1e-4, atol=1e-5)


def test_projected_condition_predicts_the_same(model):
    latents, condition = drawn(4, 4, 4, 4), drawn(2, 77, 32, seed=1)
    projected = model.project_condition(condition)
    timestep = torch.tensor(500)
    with torch.no_grad():
        expected = model.predict(latents, timestep, condition)
        torch.testing.assert_close(model.predict(latents, timestep, projected), expected)


def test_keys_of_a_fixed_condition_are_projected_once(model):
    calls = []
    layer = next(module for name, module in model.unet.named_modules() if name.endswith("attn2.to_k"))
    handle = layer.register_forward_hook(lambda *_: calls.append(1))
    projected = model.project_condition(drawn(1, 77, 32))
    for _ in range(3):
        model.predict(drawn(2, 4, 4, 4), torch.tensor(5), projected)
    handle.remove()
    assert len(calls) == 1


def test_conditions_that_do_not_divide_the_batch_are_refused(model):
    with pytest.raises(ValueError, match="the number of conditions must divide the batch of 3, got 2"):
        model.predict(drawn(3, 4, 4, 4), torch.tensor(5), drawn(2, 77, 32))


def saved_bytes(model, condition):
    """Bytes of the distinct tensors that the backward pass of one prediction keeps."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        prediction = model.predict(drawn(8, 4, 4, 4), torch.tensor(5), condition)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    return prediction, sum(size for pointer, size in kept.items() if pointer not in weights)


def test_gradient_checkpointing_keeps_fewer_tensors_and_gives_the_same_gradient(model, micro_base):
    checkpointed = FrozenLatentDiffusion.from_pretrained(str(micro_base), gradient_checkpointing=True)
    gradients, sizes = [], []
    for each in (model, checkpointed):
        condition = drawn(1, 77, 32).requires_grad_()
        prediction, size = saved_bytes(each, condition)
        prediction.square().mean().backward()
        gradients.append(condition.grad)
        sizes.append(size)
    assert sizes[1] < 0.5 * sizes[0]
    torch.testing.assert_close(gradients[1], gradients[0])


def test_attention_slicing_changes_nothing_but_the_order_of_work(model, micro_base, monkeypatch):
    monkeypatch.setattr("medti_components.networks.frozen_latent_diffusion.QUERY_SLICE", 5)
    sliced = FrozenLatentDiffusion.from_pretrained(str(micro_base), attention_slicing=True)
    latents, condition = drawn(4, 4, 4, 4), drawn(2, 77, 32, seed=1)
    with torch.no_grad():
        expected = model.predict(latents, torch.tensor(5), condition)
        torch.testing.assert_close(sliced.predict(latents, torch.tensor(5), condition), expected)
    assert sliced.vae is not None
    assert sliced.vae.use_slicing


def test_vocabulary_rows_leave_out_special_tokens(model):
    table = model.text_encoder.get_input_embeddings().weight
    assert torch.equal(model.vocabulary_rows()[0], table[1])  # '!' is id 0 and pads
    assert len(model.vocabulary_rows()) == len(table) - 3


def test_unknown_precision_and_device_are_config_errors(micro_base):
    with pytest.raises(ConfigError, match="dtype must be one of float32, bfloat16, float16, got 'half'"):
        FrozenLatentDiffusion.from_pretrained(str(micro_base), dtype="half")
    with pytest.raises(ConfigError, match="device must be like 'cpu' or 'cuda:0', got 'gpu'"):
        FrozenLatentDiffusion.from_pretrained(str(micro_base), device="gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_absent_device_is_a_config_error(micro_base):
    with pytest.raises(ConfigError, match="device 'cuda:0' is not available on this machine: set --device cpu"):
        FrozenLatentDiffusion.from_pretrained(str(micro_base), device="cuda:0")


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        (
            "scheduler",
            "prediction_type",
            "sample",
            "prediction_type of '.*' must be epsilon or v_prediction, got 'sample'",
        ),
        ("unet", "sample_size", [4, 8], r"unet sample_size of '.*' must be one number, got \[4, 8\]"),
    ],
)
def test_model_of_another_kind_is_refused(micro_base, tmp_path, part, key, value, message):
    folder = shutil.copytree(micro_base, tmp_path / "other")
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    config = json.loads((folder / part / name).read_text())
    (folder / part / name).write_text(json.dumps({**config, key: value}))
    with pytest.raises(BaseModelError, match=message):
        FrozenLatentDiffusion.from_pretrained(str(folder))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"in_channels": 9}, "unet in_channels of '.*' must be the VAE's 4 latent channels, got 9"),
        ({"cross_attention_dim": 16}, "unet cross_attention_dim of '.*' must be the text encoder's width 32, got 16"),
        (
            {
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 4,
                "projection_class_embeddings_input_dim": 8,
            },
            "unet addition_embed_type of '.*' must be none, got 'text_time'",
        ),
    ],
)
def test_unet_that_does_not_fit_is_refused(micro_base, tmp_path, changed, message):
    folder = shutil.copytree(micro_base, tmp_path / "other")
    config = {**UNet2DConditionModel.load_config(folder / "unet"), **changed}
    UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")
    with pytest.raises(BaseModelError, match=message):
        FrozenLatentDiffusion.from_pretrained(str(folder))


def test_unet_with_another_kind_of_attention_is_refused(micro_base):
    unet = UNet2DConditionModel.from_pretrained(micro_base, subfolder="unet")
    next(module for module in unet.modules() if isinstance(module, Attention)).residual_connection = True
    with pytest.raises(
        BaseModelError, match="attention layer 'down_blocks.0.*attn1' of the UNet is of an unknown kind"
    ):
        share_conditions(unet)


def test_attention_masks_are_refused(model):
    layer = model.unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn2")
    with pytest.raises(ValueError, match="attention_mask must be None"):
        layer(drawn(1, 4, 32), attention_mask=torch.ones(1, 1, 4))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_predicts_what_the_cpu_does(model, micro_base):
    on_gpu = FrozenLatentDiffusion.from_pretrained(str(micro_base), device="cuda")
    latents, condition = drawn(4, 4, 4, 4), drawn(2, 77, 32, seed=1)
    with torch.no_grad():
        expected = model.predict(latents, torch.tensor(5), condition)
        actual = on_gpu.predict(latents.cuda(), torch.tensor(5).cuda(), condition.cuda())
    torch.testing.assert_close(actual.cpu(), expected, rtol=1e-3, atol=1e-3)


def test_words_loaded_into_the_model_as_monai_does_are_an_error_that_says_how_to_read_them(micro_base) -> None:
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base))
    with pytest.raises(BaseModelError, match="'micro_base' got no weights: .* torch.load"):
        copy_model_state(model, {"<a>.rows": torch.zeros(2, 32)})

    name, weights = next(iter(model.state_dict().items()))
    copy_model_state(model, {name: torch.full_like(weights, 0.5)})
    assert torch.equal(model.state_dict()[name], torch.full_like(weights, 0.5))
