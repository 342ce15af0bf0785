# SPDX-License-Identifier: Apache-2.0
"""An autoencoder that learns on a CPU within minutes."""

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

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
