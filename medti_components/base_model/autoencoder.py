# SPDX-License-Identifier: Apache-2.0
"""An autoencoder whose encoder is the principal components of patches, and the loss that its decoder learns from."""

from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from medti_components.errors import ConfigError
from medti_components.networks.feature_network import EmbeddedFeatures

LOG_VARIANCE = -14.0  # of the posterior: encoding is as good as deterministic
ANCHOR = 64.0  # constant beside the components in each group, which the group's deviation then consists of
SLOPE, OFFSET = 0.25, 6.0  # the components pass the SiLU at OFFSET + SLOPE * component, where it is straight
DECODER_ANCHOR = 3.0


@torch.no_grad()
def patch_autoencoder(**settings: Any) -> AutoencoderKL:
    """Return an ``AutoencoderKL`` whose residual branches begin at zero; :func:`fit_to_patches` makes it encode.

    Args:
        settings: what ``AutoencoderKL`` takes.

    >>> model = patch_autoencoder(block_out_channels=(8,), latent_channels=2, norm_num_groups=4)
    >>> any(bool(p.any()) for name, p in model.named_parameters() if ".conv2." in name)
    False
    """
    model: Any = AutoencoderKL(**settings)
    for module in model.modules():
        if isinstance(module, ResnetBlock2D):
            last: Any = module.conv2
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
    return model


@torch.no_grad()
def fit_to_patches(autoencoder: AutoencoderKL, images: Tensor, exponent: float = 2 / 3) -> None:
    """Make the encoder the principal components of the patches of ``images``; in place, encoder frozen.

    A latent z_i = s_i a_i (p - m) for a patch p of P x P x 3 values, their mean m and the i-th principal axis a_i. With
    the component's deviation d_i, s_i is proportional to d_i ** (exponent - 1), and the mean variance of a channel is
    1. At ``exponent`` 1 distances between latents are those between pictures, and fine detail drowns in the sampler's
    last steps; at 0 every channel has variance 1, and the denoising loss is mostly grain.

    The map is exact but for rounding: the residual branches are zero, the strided convolutions bring each patch into
    the channels of one place, a 1x1 convolution applies the axes. The last group normalisation would undo an image's
    contrast: so each group holds every component with its negative, and two large constants.

    Args:
        autoencoder: made by :func:`patch_autoencoder`; its levels less one are the halvings.
        images: (N, 3, H, W) in [-1, 1], with a few thousand patches.
        exponent: how the deviations of the latents follow those in the pictures.

    Raises:
        ConfigError: a level has too few channels to hold what has to pass.
    """
    config: Any = autoencoder.config
    widths, groups, channels = config.block_out_channels, config.norm_num_groups, config.latent_channels
    patch = 2 ** (len(widths) - 1)
    _check_widths(widths, groups, channels)
    values = F.unfold(images, patch, stride=patch).transpose(1, 2).flatten(0, 1).double()
    variances, axes = torch.linalg.eigh(torch.cov(values.T))
    deviations = variances.flip(0)[:channels].clamp(min=1e-8).sqrt()
    rows = axes.flip(1)[:, :channels].T / deviations[:, None]  # components of unit deviation
    target = deviations**exponent / (deviations ** (2 * exponent)).mean().sqrt()
    _set_encoder(autoencoder, rows.float(), (rows @ values.mean(0)).float(), target.float())
    _begin_decoder(autoencoder, target.float())
    autoencoder.eval().requires_grad_(False)


@torch.no_grad()
def encode_exactly(autoencoder: AutoencoderKL, images: Tensor) -> Tensor:
    """Return the latents (B, C, h, w) of (B, 3, H, W) in full float32.

    The encoder made by ``fit_to_patches`` adds large constants to small components: in bfloat16, or with a GPU's
    TensorFloat-32, the components drown.
    """
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return autoencoder.encode(images).latent_dist.mean


def _check_widths(widths: tuple[int, ...], groups: int, channels: int) -> None:
    needed = [3 * 4 ** (level + 1) for level in range(len(widths) - 1)]
    needed.append(max(groups * (2 * -(-channels // groups) + 2), widths[-2] + 1))  # a 1x1 convolution only where wider
    if any(width < least for width, least in zip(widths, needed, strict=True)):
        raise ConfigError(
            f"block_out_channels must be at least {needed} for {channels} latent channels in {groups} groups, "
            f"got {list(widths)}: raise them"
        )


def _set_encoder(autoencoder: AutoencoderKL, rows: Tensor, shift: Tensor, target: Tensor) -> None:
    encoder: Any = autoencoder.encoder
    for module in encoder.modules():
        if isinstance(module, ResnetBlock2D) and module.conv_shortcut is not None:
            _pass_on(module.conv_shortcut)
    _pass_on(encoder.conv_in)
    order = torch.arange(3).reshape(3, 1, 1)  # channel that holds the value (colour, row, column) of a patch
    for block in encoder.down_blocks[:-1]:
        order = _space_to_depth(block.downsamplers[0].conv, order)
    mixing = encoder.down_blocks[-1].resnets[0].conv_shortcut
    nn.init.zeros_(mixing.weight)
    nn.init.zeros_(mixing.bias)
    groups: int = encoder.conv_norm_out.num_groups
    width = mixing.out_channels // groups
    places = [index % groups * width + 2 * (index // groups) for index in range(len(rows))]
    for place, row, offset in zip(places, rows, shift, strict=True):
        mixing.weight[place, order.flatten(), 0, 0], mixing.bias[place] = row, -offset
        mixing.weight[place + 1, order.flatten(), 0, 0], mixing.bias[place + 1] = -row, offset
    for last in range(width - 1, mixing.out_channels, width):
        mixing.bias[last - 1], mixing.bias[last] = ANCHOR, -ANCHOR
    nn.init.constant_(encoder.conv_norm_out.weight, SLOPE * ANCHOR * (2 / width) ** 0.5)
    nn.init.constant_(encoder.conv_norm_out.bias, OFFSET)
    middle = torch.tensor(OFFSET)
    slope = SLOPE * middle.sigmoid() * (1 + middle * (1 - middle.sigmoid()))
    nn.init.zeros_(encoder.conv_out.weight)
    nn.init.zeros_(encoder.conv_out.bias)
    for index, place in enumerate(places):  # the negative beside it takes the bend's even part away
        encoder.conv_out.weight[index, place, 1, 1] = 0.5 / slope
        encoder.conv_out.weight[index, place + 1, 1, 1] = -0.5 / slope
    quantize: Any = autoencoder.quant_conv
    nn.init.zeros_(quantize.weight)
    nn.init.zeros_(quantize.bias)
    quantize.weight[: len(rows), : len(rows), 0, 0] = target.diag()
    quantize.bias[len(rows) :] = LOG_VARIANCE


def _pass_on(convolution: nn.Conv2d) -> None:
    """Let the channels through as they are, as far as there are as many."""
    nn.init.dirac_(convolution.weight)
    bias: Any = convolution.bias
    nn.init.zeros_(bias)


def _space_to_depth(convolution: nn.Conv2d, order: Tensor) -> Tensor:
    """Bring 2 x 2 places into the channels of one; return the channels of the patches twice as large."""
    bias: Any = convolution.bias
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(bias)
    colours, size, _ = order.shape
    larger = torch.empty(colours, 2 * size, 2 * size, dtype=torch.long)
    count = order.numel()
    for index, (down, right) in enumerate(product(range(2), range(2))):
        channels = torch.arange(count)
        convolution.weight[channels + index * count, channels, down, right] = 1.0
        larger[:, down * size : (down + 1) * size, right * size : (right + 1) * size] = order + index * count
    return larger


def _begin_decoder(autoencoder: AutoencoderKL, target: Tensor) -> None:
    """Give the decoder components of unit deviation, and a constant per group that keeps a picture's contrast."""
    dequantize: Any = autoencoder.post_quant_conv
    nn.init.zeros_(dequantize.weight)
    nn.init.zeros_(dequantize.bias)
    dequantize.weight[:, :, 0, 0] = (1 / target).diag()
    decoder: Any = autoencoder.decoder
    last = decoder.up_blocks[-1].resnets[0].conv_shortcut
    width = last.out_channels // decoder.conv_norm_out.num_groups
    last.weight[::width], last.bias[::width] = 0, DECODER_ANCHOR


class ReconstructionLoss(nn.Module):
    """Squared and absolute error, of the maps of the embedded feature network, and of the strength of fine texture.

    The feature network learned from procedural scenes, so that no medical image has a part in it. The strength of a
    texture is the root mean square of a band of one octave in windows of 8 x 8: a decoder that blurs grain pays.

    Args:
        absolute_weight: weight of the absolute error, which keeps edges sharp.
        map_weight: weight of the squared error of the network's maps, each in units of its own mean square.
        statistics_weight: weight of the squared error of the network's features.
        texture_weight: weight of the absolute error of the strength in the two finest octaves.

    >>> images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    >>> float(ReconstructionLoss()(images, images))
    0.0
    """

    def __init__(
        self,
        absolute_weight: float = 0.03,
        map_weight: float = 0.005,
        statistics_weight: float = 0.001,
        texture_weight: float = 0.02,
    ) -> None:
        super().__init__()
        self.absolute_weight = absolute_weight
        self.map_weight = map_weight
        self.statistics_weight = statistics_weight
        self.texture_weight = texture_weight
        self.network = EmbeddedFeatures.shipped()

    def forward(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        """Return the scalar loss; images and reconstruction are (B, 3, H, W) in [-1, 1]."""
        reconstruction = reconstruction.float()
        error = reconstruction - images
        loss = error.square().mean() + self.absolute_weight * error.abs().mean()
        maps, features = self._features(reconstruction)
        true_maps, true_features = self._features(images)
        relative = [
            ((ours - true).square() / (true.square().mean((0, 2, 3), keepdim=True) + 1e-4)).mean()
            for ours, true in zip(maps, true_maps, strict=True)
        ]
        loss = loss + self.map_weight * torch.stack(relative).mean()
        loss = loss + self.statistics_weight * (features - true_features).square().mean()
        return loss + self.texture_weight * _texture_error(reconstruction, images)

    def _features(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        maps = [images]
        for unit in self.network.classifier.units:
            maps.append(unit(maps[-1]))
        return maps[1:], self.network(images)


def _texture_error(reconstruction: Tensor, images: Tensor, num_octaves: int = 2, window: int = 8) -> Tensor:
    errors = []
    for _ in range(num_octaves):
        strengths, coarser = [], []
        for pictures in (reconstruction, images):
            coarser.append(F.avg_pool2d(pictures, 2))
            fine = pictures - F.interpolate(coarser[-1], scale_factor=2)
            strengths.append((F.avg_pool2d(fine.square(), window, window // 2) + 1e-4).sqrt())
        errors.append((strengths[0] - strengths[1]).abs().mean())
        reconstruction, images = coarser
    return torch.stack(errors).sum()
