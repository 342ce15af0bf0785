# SPDX-License-Identifier: Apache-2.0
"""Stable Diffusion 2 base's architecture with random weights, made without the hub, on any device."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SCHEDULER_CONFIG = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "steps_offset": 1,
}
VOCABULARY_SIZE = 49408


def byte_tokenizer() -> CLIPTokenizer:
    """A tokenizer of single bytes: what the words are does not matter to time and memory."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = [chr(byte) for byte in printable] + [chr(256 + index) for index in range(256 - len(printable))]
    names = [*characters, *(f"{character}</w>" for character in characters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: index for index, name in enumerate(names)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], pad_token="!", model_max_length=77)


def text_encoder_config(scale: int = 1) -> CLIPTextConfig:
    """The text encoder of Stable Diffusion 2; ``scale`` divides its widths."""
    return CLIPTextConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=1024 // scale,
        intermediate_size=4096 // scale,
        num_hidden_layers=23,
        num_attention_heads=16,
        max_position_embeddings=77,
        hidden_act="gelu",
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=0,
        projection_dim=512,
    )


def unet_config(scale: int = 1) -> dict[str, object]:
    """The UNet of Stable Diffusion 2 base at 512 px; ``scale`` divides its widths."""
    return {
        "sample_size": 64,
        "block_out_channels": tuple(width // scale for width in (320, 640, 1280, 1280)),
        "cross_attention_dim": 1024 // scale,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
        "norm_num_groups": 32 // scale,
    }


def vae_config(scale: int = 1) -> dict[str, object]:
    """The autoencoder of Stable Diffusion 2 base at 512 px; ``scale`` divides its widths."""
    return {
        "sample_size": 512,
        "block_out_channels": tuple(width // scale for width in (128, 256, 512, 512)),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "norm_num_groups": 32 // scale,
        "scaling_factor": 0.18215,
    }


def build_parts(
    device: torch.device | str, dtype: torch.dtype, scale: int = 1
) -> tuple[AutoencoderKL, UNet2DConditionModel, CLIPTextModel]:
    """Return VAE, UNet and text encoder with random weights (from seed 0) in evaluation mode."""
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        default = torch.get_default_dtype()
        torch.set_default_dtype(dtype)  # made in their precision: fake tensors can't be converted afterwards
        try:
            vae = AutoencoderKL(**vae_config(scale))
            unet = UNet2DConditionModel(**unet_config(scale))
            text_encoder = CLIPTextModel._from_config(
                text_encoder_config(scale), attn_implementation="sdpa", dtype=dtype
            )
        finally:
            torch.set_default_dtype(default)
    return vae.eval(), unet.eval(), text_encoder.eval()


NO_FOLDER = Path("random weights")
