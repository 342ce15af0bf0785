# SPDX-License-Identifier: Apache-2.0
"""Features of a vision transformer such as DINOv2 or RAD-DINO, from a folder or the hub, through transformers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel

from medti_components.errors import BaseModelError

FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
REMEDY = "give a folder with its files by --feature_weights FOLDER, or use --features embedded"


class TransformerFeatures(nn.Module):
    """The class token of the last layer, of images brought to the size and values that the model was trained with.

    The whole image is scaled to the size that the model's image processor crops to, without the crop: its border is
    part of what is compared.

    Args:
        model: transformers' model; its ``last_hidden_state`` has the class token first.
        size: height and width in pixels that images are scaled to.
        mean: of each channel of images in [0, 1].
        std: likewise, the standard deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, size: tuple[int, int], mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.model = model
        self.size = size
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1))

    @classmethod
    def from_pretrained(cls, model: str, revision: str | None = None) -> "TransformerFeatures":
        """Load a model with its image processor's settings; safetensors only.

        Args:
            model: folder in transformers' layout, or hub id.
            revision: commit of the hub repository to pin.

        Raises:
            BaseModelError: it is neither a folder nor reachable, lacks a file, or can't be loaded.
        """
        folder = _located(model, revision)
        try:
            settings = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
            size, mean, std = _edges(settings), settings["image_mean"], settings["image_std"]
            loaded = AutoModel.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, dtype=torch.float32
            )
            return cls(loaded, size, mean, std)
        except (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, SafetensorError) as error:
            raise BaseModelError(
                f"feature_weights '{model}' can't be loaded ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}): {REMEDY}"
            ) from error

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] -> class tokens (B, D)."""
        scaled = functional.interpolate(images, self.size, mode="bicubic", antialias=True).clamp(-1, 1)
        states: Tensor = self.model(((scaled + 1) / 2 - self.mean) / self.std).last_hidden_state
        return states[:, 0]


def _edges(settings: Mapping[str, Any]) -> tuple[int, int]:
    """Return the height and width that the processor hands to the model."""
    size = settings["crop_size"] if settings.get("do_center_crop") else settings["size"]
    if "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"]
    return size["height"], size["width"]


def _located(model: str, revision: str | None) -> Path:
    folder = Path(model).expanduser()
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(model, revision=revision, allow_patterns=list(FILES)))
        except Exception as error:  # the hub client's errors come from several libraries; each means: not reachable
            reason = str(error).partition("\n")[0].split(". ")[0][:200]
            raise BaseModelError(
                f"feature_weights '{model}' is neither a folder nor reachable on the hub ({reason}): {REMEDY}"
            ) from error
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise BaseModelError(f"feature_weights '{model}' lacks {', '.join(missing)}: {REMEDY}")
    return folder
