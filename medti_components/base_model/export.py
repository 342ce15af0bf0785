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
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from medti_components.errors import BaseModelError
from medti_components.files import ensure_writable_directory, write_text_atomically


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
