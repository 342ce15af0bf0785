# SPDX-License-Identifier: Apache-2.0
"""The Inception network of the Frechet inception distance, from its public TorchScript file or torch-fidelity."""

import hashlib
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medti_components.errors import BaseModelError

URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
REMEDY = "give the file by --feature_weights FILE, or use --features embedded"


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
        raise BaseModelError(f"feature_weights '{path}' does not exist: {REMEDY}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise BaseModelError(
            f"feature_weights '{path}' must be the public inception-2015-12-05.pt with SHA-256 {SHA256[:12]}..., got "
            f"{digest[:12]}...: it was not loaded; {REMEDY}"
        )
    return ScriptedInception(torch.jit.load(str(path), map_location="cpu").eval())


def _fidelity() -> nn.Module:
    """Return torch-fidelity's translation of the same network; it downloads its weights itself."""
    from torchmetrics.image.fid import NoTrainInceptionV3

    try:
        network: nn.Module = NoTrainInceptionV3(name="inception-v3-compat", features_list=["2048"])
    except Exception as error:  # the library downloads by several ways; each failure means: not reachable
        raise BaseModelError(
            f"torch-fidelity's Inception can't be loaded ({' '.join(str(error).split())[:200]}): {REMEDY}"
        ) from error
    return network


def _download(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            part = Path(folder) / path.name
            torch.hub.download_url_to_file(URL, str(part), hash_prefix=SHA256)
            os.replace(part, path)
    except (OSError, RuntimeError) as error:
        raise BaseModelError(
            f"the Inception network is not reachable at {URL} ({' '.join(str(error).split())[:200]}): {REMEDY}"
        ) from error
