# SPDX-License-Identifier: Apache-2.0
"""A latent diffusion model of Stable Diffusion's kind as one frozen object."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from medti_components.errors import BaseModelError, ConfigError, PromptError
from medti_components.losses.denoising_loss import PREDICTION_TYPES
from medti_components.networks.base_model_folder import (
    checkpoint_fingerprint,
    load_component,
    load_settings,
    locate_base_model,
    short_name,
)
from medti_components.networks.shared_condition_attention import ProjectedCondition, share_conditions

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
QUERY_SLICE = 1024
BRACKETED = re.compile(r"<[^<>\s]+>")


class FrozenLatentDiffusion(nn.Module):
    """VAE, UNet, text encoder and tokenizer with nothing to train; gradients flow through to a text condition.

    Images are (B, 3, H, W) in [-1, 1]; latents (B, C, h, w) are scaled by the VAE's scaling factor; conditions are
    (B, positions, width). Computation runs in ``dtype``; latents and predictions come out as float32. Build it by
    :meth:`from_pretrained`.

    Args:
        vae, unet, text_encoder, tokenizer: the components, in evaluation mode.
        scheduler_config: diffusers' scheduler configuration; gives the noise schedule and the prediction type.
        folder: where the components were loaded from; read for the fingerprint.
        name: the folder's name, or the hub id.
        query_slice: number of queries the UNet's attention answers at a time, 0 for all at once.

    Raises:
        BaseModelError: the components don't fit together or predict neither epsilon nor v.
    """

    vae: AutoencoderKL | None

    def __init__(
        self,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        scheduler_config: Mapping[str, Any],
        folder: Path,
        name: str,
        query_slice: int = 0,
    ) -> None:
        super().__init__()
        self.vae = vae
        self.unet = unet
        self.text_encoder = text_encoder
        self.tokenizer = tokenizer
        self.scheduler_config = dict(scheduler_config)
        self.folder = folder
        self.name = name
        self.scaling_factor = float(vae.config["scaling_factor"])
        self.prediction_type = str(self.scheduler_config.get("prediction_type", "epsilon"))
        self.width = int(text_encoder.config.hidden_size)
        self.num_positions = min(int(text_encoder.config.max_position_embeddings), int(tokenizer.model_max_length))
        self.max_vectors = self.num_positions - 2
        self._ensure_consistent(vae)
        size = int(unet.config["sample_size"])
        self.latent_shape = (int(unet.config["in_channels"]), size, size)
        self.image_size = size * 2 ** (len(vae.config["block_out_channels"]) - 1)
        self.alphas_cumprod: Tensor
        self.register_buffer("alphas_cumprod", _noise_schedule(self.scheduler_config), persistent=False)
        layers = share_conditions(unet, query_slice)
        self._cross_attention = {name: layer for name, layer in layers.items() if name.endswith("attn2")}
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def from_pretrained(
        cls,
        base_model: str,
        revision: str | None = None,
        dtype: str = "float32",
        device: str | torch.device = "cpu",
        gradient_checkpointing: bool = False,
        attention_slicing: bool = False,
    ) -> "FrozenLatentDiffusion":
        """Load a base model from a folder in diffusers' layout or from the Hugging Face hub; safetensors only.

        Args:
            base_model: folder or hub id.
            revision: commit of the hub repository to pin.
            dtype: 'float32', 'bfloat16' or 'float16' for text encoder and UNet; with 'float16' the VAE stays float32,
                as its activations overflow half precision.
            device: where to compute.
            gradient_checkpointing: recompute the UNet's blocks in the backward pass, for less memory.
            attention_slicing: answer the UNet's queries in slices and decode images one at a time, for less memory.

        Raises:
            BaseModelError: it is neither a folder nor reachable, lacks components, or one does not load.
            ConfigError: dtype or device does not fit.
        """
        if dtype not in DTYPES:
            raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got '{dtype}'")
        place = _available_device(device)
        folder = locate_base_model(base_model, revision)
        precision = DTYPES[dtype]
        vae_precision = torch.float32 if precision == torch.float16 else precision
        unet = load_component(UNet2DConditionModel, folder, "unet", torch_dtype=precision)
        vae = load_component(AutoencoderKL, folder, "vae", torch_dtype=vae_precision)
        text_encoder = load_component(
            CLIPTextModel, folder, "text_encoder", dtype=precision, attn_implementation="sdpa"
        )
        tokenizer, scheduler_config = load_settings(folder)
        query_slice = QUERY_SLICE if attention_slicing else 0
        model = cls(vae, unet, text_encoder, tokenizer, scheduler_config, folder, short_name(base_model), query_slice)
        if gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        if attention_slicing:
            vae.enable_slicing()
        return model.to(place)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 (hex) over the stored weights of text encoder and UNet, whatever precision they are loaded in."""
        return checkpoint_fingerprint(self.folder)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of text encoder and UNet."""
        return self._token_table.weight.dtype

    @property
    def _token_table(self) -> nn.Embedding:
        return cast(nn.Embedding, self.text_encoder.get_input_embeddings())

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self.alphas_cumprod.device

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take over weights, as any module does.

        ``monai.bundle.load`` of a bundle of words hands over the model's own: words are no part of it.

        Raises:
            BaseModelError: all weights are the model's own.
        """
        own = self.state_dict()
        if all(name in own and own[name].data_ptr() == value.data_ptr() for name, value in state_dict.items()):
            raise BaseModelError(
                f"'{self.name}' got no weights: words are no part of the base model. Read a bundle's words by "
                'torch.load("models/model.pt", weights_only=True), or its embeddings/*.safetensors by '
                "load_textual_inversion of diffusers"
            )
        return super().load_state_dict(state_dict, strict, assign)

    def train(self, mode: bool = True) -> "FrozenLatentDiffusion":
        """Stay in evaluation mode: a frozen model has nothing to train."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images (B, 3, H, W) in [-1, 1] to mean and standard deviation of their latents, each (B, C, h, w).

        Raises:
            BaseModelError: the VAE was released.
        """
        vae = self._present_vae()
        posterior = vae.encode(images.to(self.device, vae.dtype)).latent_dist
        return posterior.mean.float() * self.scaling_factor, posterior.std.float() * self.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (B, C, h, w) to images (B, 3, H, W), float32 clamped to [-1, 1].

        Raises:
            BaseModelError: the VAE was released.
        """
        vae = self._present_vae()
        latents = (latents.to(self.device, torch.float32) / self.scaling_factor).to(vae.dtype)
        return vae.decode(latents, return_dict=False)[0].float().clamp(-1.0, 1.0)

    def release_vae(self) -> None:
        """Drop the VAE, to free its memory once all images are encoded."""
        self.vae = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def vocabulary_rows(self) -> Tensor:
        """Return the token embeddings of the ordinary words, float32 (words, width): special tokens are left out."""
        table = self._token_table.weight
        special = {index for index in self.tokenizer.all_special_ids if index < len(table)}
        ordinary = [index for index in range(len(table)) if index not in special]
        return table[torch.tensor(ordinary, device=table.device)].float()

    def forward(self, noisy_latents: Tensor, timesteps: Tensor, rows: Tensor) -> Tensor:
        """Predict, as :meth:`predict`, under the prompt that is one concept alone, ``rows`` (n, width)."""
        return self.predict(noisy_latents, timesteps, self.condition_from_rows(rows))

    def condition_from_rows(self, *rows: Tensor) -> Tensor:
        """Encode prompts that are one concept alone, [start, rows, end, padding ...], in one pass.

        Args:
            rows: (n, width) of one concept or of each of K; gradients flow back to them.

        Returns:
            Condition (K, positions, width) in ``dtype``.

        Raises:
            EmbeddingError: there are more rows than the text encoder takes.
        """
        return self._encoded([self._entering("<rows>", {"<rows>": each}) for each in rows])

    def condition_from_prompt(self, prompt: str, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Encode a prompt of words and concept tokens, the latter expanded in place to their rows.

        Args:
            prompt: for instance "<prostate_mri_positive>", or "" for the unconditional one.
            embeddings: rows (n, width) by concept token; gradients flow back to them.

        Returns:
            Condition (1, positions, width) in ``dtype``.

        Raises:
            EmbeddingError: a concept is unknown, or the prompt is longer than the text encoder takes.
        """
        return self._encoded([self._entering(prompt, embeddings)])

    def _entering(self, prompt: str, embeddings: Mapping[str, Tensor]) -> Tensor:
        return token_embeddings(prompt, embeddings, self.tokenizer, self._token_table, self.num_positions)

    def _encoded(self, entering: Sequence[Tensor]) -> Tensor:
        hidden = self.text_encoder.embeddings(inputs_embeds=torch.cat(list(entering)))
        encoded = self.text_encoder.encoder(inputs_embeds=hidden, attention_mask=None, is_causal=True)
        return self.text_encoder.final_layer_norm(encoded.last_hidden_state)

    @torch.no_grad()
    def project_condition(self, condition: Tensor) -> ProjectedCondition:
        """Compute the keys and values of a fixed condition (K, positions, width) once, for many ``predict`` calls."""
        condition = condition.to(self.device, self.dtype)
        keys_and_values = {name: layer.project(condition) for name, layer in self._cross_attention.items()}
        return ProjectedCondition(condition, keys_and_values)

    def predict(self, noisy_latents: Tensor, timesteps: Tensor, condition: Tensor | ProjectedCondition) -> Tensor:
        """Predict epsilon or v.

        Args:
            noisy_latents: (B, C, h, w).
            timesteps: one for all, or (B,).
            condition: (K, positions, width) or the same projected; K divides B, and condition k serves the samples
                k * B/K to (k + 1) * B/K - 1. Keys and values are projected once for each of the K.

        Returns:
            Prediction (B, C, h, w), float32.

        Raises:
            ValueError: K does not divide B.
        """
        projected = condition if isinstance(condition, ProjectedCondition) else None
        states = condition.condition if isinstance(condition, ProjectedCondition) else condition.to(self.dtype)
        if noisy_latents.shape[0] % states.shape[0]:
            raise ValueError(
                f"the number of conditions must divide the batch of {noisy_latents.shape[0]}, got {states.shape[0]}"
            )
        kwargs = None if projected is None else {"projected": projected}
        prediction = self.unet(
            noisy_latents.to(self.dtype), timesteps, states, cross_attention_kwargs=kwargs, return_dict=False
        )
        return prediction[0].float()

    def _present_vae(self) -> AutoencoderKL:
        if self.vae is None:
            raise BaseModelError(f"the VAE of '{self.name}' was released: load the model again to encode or decode")
        return self.vae

    def _ensure_consistent(self, vae: AutoencoderKL) -> None:
        unet = self.unet.config
        facts = {
            "prediction_type": (
                self.prediction_type in PREDICTION_TYPES,
                f"epsilon or v_prediction, got '{self.prediction_type}'",
            ),
            "unet cross_attention_dim": (
                unet["cross_attention_dim"] == self.width,
                f"the text encoder's width {self.width}, got {unet['cross_attention_dim']}",
            ),
            "unet in_channels": (
                unet["in_channels"] == vae.config["latent_channels"],
                f"the VAE's {vae.config['latent_channels']} latent channels, got {unet['in_channels']}",
            ),
            "unet sample_size": (isinstance(unet["sample_size"], int), f"one number, got {unet['sample_size']}"),
            "unet addition_embed_type": (
                unet["addition_embed_type"] is None,
                f"none, got '{unet['addition_embed_type']}'",
            ),
        }
        for what, (holds, must_be) in facts.items():
            if not holds:
                raise BaseModelError(
                    f"{what} of '{self.name}' must be {must_be}: "
                    "choose a text-to-image model of Stable Diffusion 1 or 2's kind"
                )


def _noise_schedule(scheduler_config: Mapping[str, Any]) -> Tensor:
    known = DDPMScheduler().config
    return DDPMScheduler(**{key: value for key, value in scheduler_config.items() if key in known}).alphas_cumprod


def _available_device(device: str | torch.device) -> torch.device:
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device must be like 'cpu' or 'cuda:0', got '{device}'") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device '{device}' is not available on this machine: set --device cpu")
    return place


def token_embeddings(
    prompt: str,
    embeddings: Mapping[str, Tensor],
    tokenizer: CLIPTokenizer,
    table: nn.Embedding,
    num_positions: int,
) -> Tensor:
    """Return the token embeddings (1, num_positions, width) of a prompt, concept tokens expanded in place.

    The layout is [start, words and rows ..., end, padding ...], as diffusers lays it out after
    ``load_textual_inversion``.

    Args:
        prompt: words of the base model's vocabulary and concept tokens ``<word>``.
        embeddings: rows (n, width) of each concept by its token; gradients flow to them.
        tokenizer: the base model's.
        table: the text encoder's token embedding.
        num_positions: how many positions the text encoder takes, start and end included.

    Raises:
        PromptError: a ``<...>`` in the prompt is no known concept, or the prompt is longer than the encoder takes.
    """
    pieces = [_lookup([tokenizer.bos_token_id], table)]
    first_too_many = None
    for start, text in _segments(prompt, tokenizer):
        if BRACKETED.fullmatch(text) and text not in tokenizer.all_special_tokens:
            if text not in embeddings:
                known = ", ".join(sorted(embeddings)) or "none"
                raise PromptError(f"unknown concept '{text}': known are {known}", prompt, start)
            pieces.append(embeddings[text].to(table.weight))
        elif words := tokenizer(text, add_special_tokens=False)["input_ids"]:
            pieces.append(_lookup(words, table))
        if first_too_many is None and sum(len(piece) for piece in pieces) >= num_positions:
            first_too_many = start
    pieces.append(_lookup([tokenizer.eos_token_id], table))
    length = sum(len(piece) for piece in pieces)
    if first_too_many is not None:
        raise PromptError(
            f"a text takes {length - 2} positions, the text encoder has {num_positions - 2}: shorten it, or join "
            "concepts by AND, which encodes each on its own",
            prompt,
            first_too_many,
        )
    if length < num_positions:
        pieces.append(_lookup([tokenizer.pad_token_id], table).expand(num_positions - length, -1))
    return torch.cat(pieces)[None]


def _lookup(ids: list[int], table: nn.Embedding) -> Tensor:
    return table.weight[torch.tensor(ids, device=table.weight.device)]


def _segments(prompt: str, tokenizer: CLIPTokenizer) -> list[tuple[int, str]]:
    """Split into words and concept tokens, each with its offset; the tokenizer's own special tokens are words."""
    segments: list[tuple[int, str]] = []
    start = 0
    for match in BRACKETED.finditer(prompt):
        if match.group() in tokenizer.all_special_tokens:
            continue
        segments += [(start, prompt[start : match.start()]), (match.start(), match.group())]
        start = match.end()
    return [(start, text) for start, text in [*segments, (start, prompt[start:])] if text]
