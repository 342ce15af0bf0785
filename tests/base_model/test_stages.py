# SPDX-License-Identifier: Apache-2.0
import torch
from torch import nn

from medti_components.base_model.autoencoder import AutoencoderLoss, GrowingAutoencoder, small_autoencoder
from medti_components.base_model.caption_image_contrast import ContrastiveLoss
from medti_components.base_model.export import align_latents_with_pixels
from medti_components.base_model.stages import average_weights


def _autoencoder():
    torch.manual_seed(0)
    return small_autoencoder(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        latent_channels=3,
        norm_num_groups=4,
        sample_size=16,
        mid_block_add_attention=False,
    )


def _aligned():
    """An autoencoder, images, and its posterior and reconstruction before and after its latents are aligned."""
    autoencoder = _autoencoder()
    images = torch.nn.functional.interpolate(torch.rand(200, 3, 5, 5) * 2 - 1, 16, mode="bicubic").clamp(-1, 1)
    with torch.no_grad():
        before = autoencoder.encode(images).latent_dist
        decoded = autoencoder.decode(before.mean).sample
        align_latents_with_pixels(autoencoder, images)
        after = autoencoder.encode(images).latent_dist
    return autoencoder, images, before, decoded, after


def test_aligned_latents_are_uncorrelated_with_unit_scale_in_all_and_decode_to_the_same_image():
    autoencoder, _, before, decoded, after = _aligned()
    with torch.no_grad():
        again = autoencoder.decode(after.mean).sample
    values = after.mean.transpose(0, 1).flatten(1)
    covariance = torch.cov(values)
    variances = covariance.diagonal()
    assert torch.allclose(values.mean(1), torch.zeros(3), atol=1e-3)
    assert torch.allclose(variances.sum(), torch.tensor(3.0), rtol=1e-3)
    assert torch.allclose(covariance, variances.diag(), atol=1e-3)
    assert variances[0] >= variances[1] >= variances[2]
    assert torch.allclose(again, decoded, atol=1e-3)
    # one variance a channel, carried through the map; sampling disturbs the picture as much as before
    assert torch.allclose(after.var.std((0, 2, 3)), torch.zeros(3), atol=1e-6)
    noise = torch.randn(after.mean.shape)
    with torch.no_grad():
        disturbed = [autoencoder.decode(after.mean + after.std * noise).sample - again]
    assert 0.3 < disturbed[0].square().mean() / _disturbance(before, noise) < 3


def _disturbance(before, noise):
    autoencoder = _autoencoder()
    with torch.no_grad():
        return (
            (autoencoder.decode(before.mean + before.std * noise).sample - autoencoder.decode(before.mean).sample)
            .square()
            .mean()
        )


def test_a_step_in_any_aligned_channel_changes_the_picture_alike():
    autoencoder, _, _, decoded, after = _aligned()
    changes = []
    for channel in range(3):
        step = torch.zeros_like(after.mean)
        step[:, channel] = 0.05 * torch.randn(step.shape[0], *step.shape[2:])
        with torch.no_grad():
            changes.append((autoencoder.decode(after.mean + step).sample - decoded).square().mean().item())
    assert max(changes) < 3 * min(changes)


def test_residual_branches_begin_at_zero_and_the_posterior_narrow():
    autoencoder = _autoencoder()
    with torch.no_grad():
        posterior = autoencoder.encode(torch.zeros(1, 3, 16, 16)).latent_dist
    assert float(posterior.std.mean()) < 0.2
    weights = [p for name, p in autoencoder.named_parameters() if ".conv2." in name]
    assert weights and all(not weight.any() for weight in weights)


def test_the_way_past_the_innermost_level_trains_the_outer_ones_alone():
    autoencoder, images = _autoencoder(), torch.rand(2, 3, 16, 16) * 2 - 1
    growing = GrowingAutoencoder(autoencoder, way_past_channels=2)
    posterior = growing.encode(images, whole=False)
    assert posterior.mean.shape == (2, 2, 16, 16)  # twice the whole autoencoder's 8 x 8
    growing.decode(posterior.mean, whole=False).square().mean().backward()
    learning = {name for name, parameter in autoencoder.named_parameters() if parameter.grad is not None}
    assert {"encoder.conv_in.weight", "decoder.conv_out.weight"} <= learning
    assert not any("mid_block" in name or "downsamplers" in name or "quant_conv" in name for name in learning)


def test_the_whole_growing_autoencoder_is_the_autoencoder():
    autoencoder, images = _autoencoder(), torch.rand(2, 3, 16, 16) * 2 - 1
    growing = GrowingAutoencoder(autoencoder)
    with torch.no_grad():
        latents = growing.encode(images, whole=True).mean
        assert torch.equal(latents, autoencoder.encode(images).latent_dist.mean)
        assert torch.equal(growing.decode(latents, whole=True), autoencoder.decode(latents).sample)


def test_contrast_of_uninformative_features_is_the_logarithm_of_the_batch():
    assert abs(ContrastiveLoss()(torch.zeros(8, 8)).item() - torch.log(torch.tensor(8.0)).item()) < 1e-6


def test_autoencoder_loss_of_a_perfect_reconstruction_is_the_divergence():
    autoencoder, images = _autoencoder(), torch.zeros(2, 3, 16, 16)
    with torch.no_grad():
        posterior = autoencoder.encode(images).latent_dist
    loss = AutoencoderLoss(divergence_weight=1.0)(images, images, posterior)
    expected = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
    assert torch.allclose(loss, expected)


def test_the_average_follows_fast_at_first():
    network = nn.Linear(1, 1, bias=False)
    averaged = average_weights(network)
    for value in (1.0, 2.0):
        nn.init.constant_(network.weight, value)
        averaged.update_parameters(network)
    # the first update copies; the second has decay (1 + 1) / (10 + 1)
    assert abs(averaged.module.weight.item() - (2 - 2 / 11)) < 1e-6
