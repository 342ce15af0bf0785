# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from medti_components.base_model.autoencoder import ReconstructionLoss, fit_to_patches, patch_autoencoder
from medti_components.base_model.caption_image_contrast import ContrastiveLoss
from medti_components.base_model.stages import average_weights, take_average, vary
from medti_components.errors import ConfigError


def _autoencoder(widths=(12, 24), channels=5):
    torch.manual_seed(0)
    return patch_autoencoder(
        down_block_types=["DownEncoderBlock2D"] * len(widths),
        up_block_types=["UpDecoderBlock2D"] * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=16,
        mid_block_add_attention=False,
    )


def _images(number=200):
    torch.manual_seed(1)
    return F.interpolate(torch.rand(number, 3, 5, 5) * 2 - 1, 16, mode="bicubic").clamp(-1, 1)


@pytest.mark.parametrize(("widths", "patch", "channels"), [((12, 24), 2, 5), ((12, 48, 56), 4, 11)])
def test_latents_are_the_scaled_principal_components_of_patches(widths, patch, channels):
    autoencoder, images = _autoencoder(widths, channels), _images()
    fit_to_patches(autoencoder, images, exponent=0.5)
    with torch.no_grad():
        latents = autoencoder.encode(images).latent_dist.mean
    patches = F.unfold(images, patch, stride=patch).transpose(1, 2).flatten(0, 1).double()
    centred = patches - patches.mean(0)
    _, values, axes = torch.linalg.svd(centred, full_matrices=False)
    deviations = values[:channels] / (len(patches) - 1) ** 0.5
    components = centred @ axes[:channels].T / deviations.sqrt()  # deviation d ** 0.5
    components = components / components.square().mean().sqrt()
    found = latents.flatten(2).transpose(1, 2).flatten(0, 1).double()
    signs = (found * components).sum(0).sign()
    torch.testing.assert_close(found, components * signs, atol=0.03, rtol=0.0)


def test_an_image_s_own_contrast_is_kept():
    autoencoder, images = _autoencoder(), _images()
    fit_to_patches(autoencoder, images)
    with torch.no_grad():
        whole, half, grey = (autoencoder.encode(each).latent_dist.mean for each in (images, images / 2, 0 * images))
    torch.testing.assert_close(half - grey, (whole - grey) / 2, atol=0.03, rtol=0.0)


def test_the_encoder_is_frozen_and_its_posterior_narrow():
    autoencoder = _autoencoder()
    fit_to_patches(autoencoder, _images())
    assert not any(parameter.requires_grad for parameter in autoencoder.parameters())
    with torch.no_grad():
        assert float(autoencoder.encode(_images(2)).latent_dist.std.max()) < 0.001


def test_levels_too_narrow_for_a_patch_say_what_they_need():
    with pytest.raises(
        ConfigError, match=r"^block_out_channels must be at least \[12, 24\] for 5 latent channels in 4"
    ):
        fit_to_patches(_autoencoder((12, 16)), _images(2))


def test_residual_branches_begin_at_zero():
    weights = [p for name, p in _autoencoder().named_parameters() if ".conv2." in name]
    assert weights and all(not weight.any() for weight in weights)


def test_reconstruction_loss_rises_with_blur_more_than_its_pixels_do():
    torch.manual_seed(0)
    images = 0.2 * torch.randn(4, 3, 64, 64)
    blurred = F.avg_pool2d(images, 3, 1, 1)
    pixels = ReconstructionLoss(map_weight=0.0, statistics_weight=0.0, texture_weight=0.0)
    plain, whole = pixels(blurred, images), ReconstructionLoss()(blurred, images)
    error = blurred - images
    torch.testing.assert_close(plain, error.square().mean() + 0.03 * error.abs().mean())
    assert whole > 1.1 * plain
    assert ReconstructionLoss()(images, images) == 0


def test_varied_pictures_keep_their_range_and_follow_the_stream():
    images = _images(9)
    one, two, other = (vary(images, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert one.shape == images.shape and one.abs().max() <= 1
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert vary(images[:2], torch.Generator().manual_seed(0)).shape == (2, 3, 16, 16)


def test_contrast_of_uninformative_features_is_the_logarithm_of_the_batch():
    assert abs(ContrastiveLoss()(torch.zeros(8, 8)).item() - torch.log(torch.tensor(8.0)).item()) < 1e-6


def test_the_average_follows_fast_at_first():
    network = nn.Linear(1, 1, bias=False)
    averaged = average_weights(network)
    for value in (1.0, 2.0):
        nn.init.constant_(network.weight, value)
        averaged.update_parameters(network)
    # the first update copies; the second has decay (1 + 1) / (10 + 1)
    assert abs(averaged.module.weight.item() - (2 - 2 / 11)) < 1e-6


def test_the_average_takes_the_network_s_place_for_good():
    network = nn.Linear(1, 1, bias=False)
    averaged = average_weights(network)
    for value in (1.0, 2.0):
        nn.init.constant_(network.weight, value)
        averaged.update_parameters(network)
    take_average(network, averaged)
    assert network.weight == averaged.module.weight and not network.weight.requires_grad
