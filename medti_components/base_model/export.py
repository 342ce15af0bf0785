# SPDX-License-Identifier: Apache-2.0
"""Writing a trained latent diffusion model in diffusers' folder layout."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from medti_components.errors import BaseModelError
from medti_components.files import ensure_writable_directory, write_text_atomically


@torch.no_grad()
def align_latents_with_pixels(autoencoder: AutoencoderKL, images: Tensor, floor: float = 1e-4) -> None:
    """Give latents distances that are the decoded images' distances; decoded images stay the same.

    The new channels are uncorrelated, in falling order of the pixel energy that each stands for, which is its variance
    too; over all channels mean 0 and standard deviation 1, as denoising from N(0, I) wants it. With every channel
    scaled to unit variance instead, fine grain weighs as much in the denoising loss as colour and layout. The affine
    map goes into the two 1x1 convolutions beside the latent, so that ``scaling_factor`` is 1.

    Args:
        autoencoder: changed in place; its posterior gets one variance per channel, the average over ``images``.
        images: (N, 3, H, W) in [-1, 1].
        floor: smallest share of the largest energy that a channel is scaled by, against division by zero.
    """
    posteriors = [autoencoder.encode(part).latent_dist for part in images.split(100)]
    latents = torch.cat([posterior.mean for posterior in posteriors])
    variance = torch.cat([posterior.var for posterior in posteriors]).mean(dim=(0, 2, 3)).double()
    values = latents.transpose(0, 1).flatten(1).double()
    count, mean = len(values), values.mean(dim=1)
    scale, axes = torch.linalg.eigh(torch.cov(values))
    deviations = axes * scale.clamp(min=scale.max() * 1e-12).sqrt()  # a column for each uncorrelated direction
    energy, directions = torch.linalg.eigh(_pixel_energy(autoencoder, latents[:100], deviations.float()).double())
    energy, directions = energy.flip(0).clamp(min=floor * energy.max()), directions.flip(1)
    backward = deviations @ directions / (energy * count / energy.sum()).sqrt()  # old = backward @ new + mean
    forward = torch.linalg.inv(backward)

    encoding: Any = autoencoder.quant_conv
    decoding: Any = autoencoder.post_quant_conv
    encoding.bias[:count] = (forward @ (encoding.bias[:count].double() - mean)).float()
    encoding.weight[:count, :, 0, 0] = (forward @ encoding.weight[:count, :, 0, 0].double()).float()
    encoding.weight[count:] = 0
    encoding.bias[count:] = ((forward**2) @ variance).log().float()
    decoding.bias += (decoding.weight[:, :, 0, 0].double() @ mean).float()
    decoding.weight[:, :, 0, 0] = (decoding.weight[:, :, 0, 0].double() @ backward).float()


def _pixel_energy(autoencoder: AutoencoderKL, latents: Tensor, steps: Tensor) -> Tensor:
    """Return the products (C, C) of the changes of the decoded images by each step, per latent.

    ``steps`` (C, C) has one step per column. A tenth of each is taken, at every place up or down at random.
    """
    generator = torch.Generator().manual_seed(0)
    share = 0.1
    sign = torch.randint(2, (len(latents), 1, *latents.shape[2:]), generator=generator).to(latents) * 2 - 1
    decoded = autoencoder.decode(latents).sample
    changes = [
        (autoencoder.decode(latents + share * sign * step[None, :, None, None]).sample - decoded).flatten()
        for step in steps.T
    ]
    stacked = torch.stack(changes) / share
    return stacked @ stacked.T / sign.numel()


def save_base_model(
    folder: str | Path,
    autoencoder: AutoencoderKL,
    text_encoder: CLIPTextModel,
    unet: UNet2DConditionModel,
    tokenizer: CLIPTokenizer,
) -> None:
    """Write float16 weights and configs that ``StableDiffusionPipeline.from_pretrained(folder)`` loads.

    Raises:
        OutputError: the folder is not writable.
    """
    target = ensure_writable_directory(folder)
    scheduler = EulerAncestralDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.03,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        prediction_type="v_prediction",
        steps_offset=1,
        timestep_spacing="linspace",
    )
    pipeline: Any = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(target, safe_serialization=True)
    _load_in_float32(target / "text_encoder" / "config.json")
    tokenizer.backend_tokenizer.model.save(str(target / "tokenizer"))  # vocab.json and merges.txt, for older readers


def load_base_model(folder: str | Path, autoencoder: AutoencoderKL, denoiser: nn.ModuleDict) -> None:
    """Load the weights that :func:`save_base_model` wrote into networks of the same shape, to train them further.

    Args:
        folder: in diffusers' layout.
        autoencoder: frozen afterwards.
        denoiser: holds ``unet`` and ``text_encoder``.

    Raises:
        BaseModelError: a weight file is missing, or its shapes are not those of the networks.
    """
    files = {
        "vae/diffusion_pytorch_model.safetensors": autoencoder,
        "unet/diffusion_pytorch_model.safetensors": denoiser["unet"],
        "text_encoder/model.safetensors": denoiser["text_encoder"],
    }
    for name, network in files.items():
        path = Path(folder) / name
        try:
            network.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise BaseModelError(
                f"'{path}' does not hold the weights of this model ({type(error).__name__}): set initial_model to a "
                "folder that the same config wrote"
            ) from error
    autoencoder.eval().requires_grad_(False)


def _load_in_float32(config: Path) -> None:
    """Let transformers load the text encoder as diffusers does the rest: it takes the stored type otherwise."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    write_text_atomically(config, json.dumps(settings | {"dtype": "float32"}, indent=2) + "\n")
