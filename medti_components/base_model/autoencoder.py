# SPDX-License-Identifier: Apache-2.0
"""An autoencoder that learns on a CPU within minutes, and its loss."""

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

INITIAL_LOG_VARIANCE = -6.0


@torch.no_grad()
def small_autoencoder(**settings: Any) -> AutoencoderKL:
    """Return an ``AutoencoderKL`` whose residual branches begin at zero and whose posterior begins narrow.

    It starts as a chain of plain convolutions, which learns the coarse image at once, and adds detail from there.

    Args:
        settings: what ``AutoencoderKL`` takes.

    >>> model = small_autoencoder(block_out_channels=(8,), latent_channels=2, norm_num_groups=4)
    >>> float(model.quant_conv.bias[2:].mean())
    -6.0
    """
    model: Any = AutoencoderKL(**settings)
    for module in model.modules():
        if isinstance(module, ResnetBlock2D):
            nn.init.zeros_(module.conv2.weight)
            if module.conv2.bias is not None:
                nn.init.zeros_(module.conv2.bias)
    model.quant_conv.bias[model.config.latent_channels :] = INITIAL_LOG_VARIANCE
    return model


class GrowingAutoencoder(nn.Module):
    """An ``AutoencoderKL`` beside a way past its innermost level, by which the outer levels are trained first.

    From nothing, four levels at once take several times longer to the same reconstruction than three that then get a
    fourth: the idea of progressive growing (Karras et al., ICLR 2018) inside out.

    Args:
        autoencoder: of two levels or more; it alone is kept in the end.
        way_past_channels: latent channels of the way past, whose latents are twice as wide and high.
    """

    def __init__(self, autoencoder: AutoencoderKL, way_past_channels: int = 6) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        settings: Any = autoencoder.config
        outer, inner = settings.block_out_channels[-2:]
        to_posterior = nn.Conv2d(outer, 2 * way_past_channels, 3, padding=1)
        bias: Any = to_posterior.bias
        nn.init.constant_(bias[way_past_channels:], INITIAL_LOG_VARIANCE)
        self.to_latent = nn.Sequential(nn.GroupNorm(settings.norm_num_groups, outer), nn.SiLU(), to_posterior)
        self.from_latent = nn.Conv2d(way_past_channels, inner, 3, padding=1)

    def encode(self, images: Tensor, whole: bool) -> DiagonalGaussianDistribution:
        """Return the posterior of ``images`` (B, 3, H, W) in [-1, 1], of the whole autoencoder or of the way past."""
        if whole:
            return self.autoencoder.encode(images).latent_dist
        encoder: Any = self.autoencoder.encoder
        features = encoder.conv_in(images)
        for block in encoder.down_blocks[:-2]:
            features = block(features)
        for layer in encoder.down_blocks[-2].resnets:  # without the downsampling that leads to the innermost level
            features = layer(features, None)
        return DiagonalGaussianDistribution(self.to_latent(features))

    def decode(self, latents: Tensor, whole: bool) -> Tensor:
        """Return the images of latents that :meth:`encode` gave."""
        if whole:
            return self.autoencoder.decode(latents).sample
        decoder: Any = self.autoencoder.decoder
        features = self.from_latent(latents)
        for block in decoder.up_blocks[1:]:
            features = block(features)
        return decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(features)))


class AutoencoderLoss(nn.Module):
    """Squared and absolute error of the reconstruction plus the posterior's divergence from N(0, 1).

    Args:
        absolute_weight: weight of the absolute error, which keeps edges sharp.
        divergence_weight: weight of the divergence per latent value (Rombach et al., CVPR 2022, section 3.1: slight).
    """

    def __init__(self, absolute_weight: float = 0.3, divergence_weight: float = 1e-4) -> None:
        super().__init__()
        self.absolute_weight = absolute_weight
        self.divergence_weight = divergence_weight

    def forward(self, reconstruction: Tensor, images: Tensor, posterior: DiagonalGaussianDistribution) -> Tensor:
        """Return the scalar loss; images and reconstruction are (B, 3, H, W) in [-1, 1]."""
        error = reconstruction.float() - images
        divergence = 0.5 * (posterior.mean.float().square() + posterior.var.float() - 1 - posterior.logvar.float())
        reconstruction_loss = error.square().mean() + self.absolute_weight * error.abs().mean()
        return reconstruction_loss + self.divergence_weight * torch.mean(divergence)
