# SPDX-License-Identifier: Apache-2.0
"""Public networks whose features images are compared on: Inception, and vision transformers such as DINOv2."""

import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel

from medti_components.errors import BaseModelError
from medti_components.networks.hub_folder import locate_files, one_line

URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
FILE_REMEDY = "give the file by --feature_weights FILE, or use --features embedded"
FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
FOLDER_REMEDY = "give a folder with its files by --feature_weights FOLDER, or use --features embedded"


class InceptionFeatures(nn.Module):
    """The 2048 pooled features of the network of 2015 that FID is defined by.

    Args:
        network: uint8 images (B, 3, H, W) -> features (B, 2048); it scales them to 299 by 299 pixels itself.

    >>> pooled = InceptionFeatures(lambda pixels: pixels.float().mean((2, 3)))
    >>> pooled(torch.ones(1, 3, 8, 8))
    tensor([[255., 255., 255.]])
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] -> features (B, 2048); they are rounded to 256 grey levels as FID has them."""
        features: Tensor = self.network(((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8))
        return features


class ScriptedInception(nn.Module):
    """The TorchScript module, asked for features rather than for classes."""

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.script = script

    def forward(self, pixels: Tensor) -> Tensor:
        """Uint8 (B, 3, H, W) -> features (B, 2048)."""
        features: Tensor = self.script(pixels, return_features=True)
        return features


def load_inception(weights: str | None = None) -> InceptionFeatures:
    """Load the network.

    A TorchScript file is a program: it is loaded only when its SHA-256 is that of the public file.

    Args:
        weights: path of ``inception-2015-12-05.pt``. None takes the one downloaded before, then torch-fidelity's
            network where that is installed with torchvision, then downloads the file into torch.hub's folder.

    Raises:
        BaseModelError: the file is missing, not reachable or another one.
    """
    if weights is not None:
        return InceptionFeatures(_scripted(Path(weights).expanduser()))
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(URL).name
    if not path.is_file():
        if all(importlib.util.find_spec(name) for name in ("torch_fidelity", "torchvision")):
            return InceptionFeatures(_fidelity())
        _download(path)
    return InceptionFeatures(_scripted(path))


def _scripted(path: Path) -> ScriptedInception:
    if not path.is_file():
        raise BaseModelError(f"feature_weights '{path}' does not exist: {FILE_REMEDY}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise BaseModelError(
            f"feature_weights '{path}' must be the public inception-2015-12-05.pt with SHA-256 {SHA256[:12]}..., got "
            f"{digest[:12]}...: it was not loaded; {FILE_REMEDY}"
        )
    return ScriptedInception(torch.jit.load(str(path), map_location="cpu").eval())


def _fidelity() -> nn.Module:
    """Return torch-fidelity's translation of the same network; it downloads its weights itself."""
    from torchmetrics.image.fid import NoTrainInceptionV3

    try:
        network: nn.Module = NoTrainInceptionV3(name="inception-v3-compat", features_list=["2048"])
    except Exception as error:  # the library downloads by several ways; each failure means: not reachable
        raise BaseModelError(
            f"torch-fidelity's Inception can't be loaded ({one_line(error)}): {FILE_REMEDY}"
        ) from error
    return network


def _download(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            partial = Path(folder) / path.name
            torch.hub.download_url_to_file(URL, str(partial), hash_prefix=SHA256)
            os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        raise BaseModelError(
            f"the Inception network is not reachable at {URL} ({one_line(error)}): {FILE_REMEDY}"
        ) from error


class TransformerFeatures(nn.Module):
    """The class token of the last layer, of images brought to the size and values that the model was trained with.

    The whole image is scaled to the size that the model's image processor crops to, without the crop: its border is
    part of what is compared.

    Args:
        model: transformers' model; its ``last_hidden_state`` has the class token first.
        size: height and width in pixels that images are scaled to.
        mean: of each channel of images in [0, 1].
        std: standard deviation of each channel.
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
        folder = locate_files(model, revision, "feature_weights", FOLDER_REMEDY, FILES)
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
                f"{one_line(error)}): {FOLDER_REMEDY}"
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
