# SPDX-License-Identifier: Apache-2.0
"""Features of many images, each computed once: by what an image shows and by the network, whatever its file."""

import hashlib
import logging
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from medti_components.errors import DataError
from medti_components.files import ensure_writable_directory, save_tensors_atomically
from medti_components.networks.feature_network import FeatureNetwork

logger = logging.getLogger(__name__)


class ImageFeatures:
    """Run a feature network over images, in batches; what was computed before is read from a file a network.

    Args:
        network: images to features.
        device: where it runs.
        batch_size: images at once; changes no feature beyond rounding.
        cache_dir: folder of the files, or None to keep nothing.
        show_progress: whether to show a progress bar.

    >>> from torch import nn
    >>> network = FeatureNetwork("means", nn.Sequential(nn.AvgPool2d(4), nn.Flatten()))
    >>> ImageFeatures(network, show_progress=False)(torch.ones(2, 3, 4, 4))
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """

    def __init__(
        self,
        network: FeatureNetwork,
        device: str | torch.device = "cpu",
        batch_size: int = 32,
        cache_dir: str | Path | None = None,
        show_progress: bool = True,
    ) -> None:
        self.network = network
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.cache_dir = None if cache_dir is None else ensure_writable_directory(cache_dir, "cache_dir")
        self.show_progress = show_progress

    @property
    def path(self) -> Path | None:
        """The file with the features of this network, or None where nothing is kept."""
        return None if self.cache_dir is None else self.cache_dir / f"{self.network.fingerprint[:16]}.safetensors"

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [-1, 1] -> features (N, D), float32 on the CPU.

        Raises:
            DataError: there is no image, the shape or a feature does not fit, or the file is not readable.
            OutputError: the file can't be written.
        """
        if images.ndim != 4 or images.shape[1] != 3 or len(images) == 0:
            raise DataError(
                f"images must have shape (n, 3, height, width) with n >= 1, got {tuple(images.shape)}: give more images"
            )
        keys = [hashlib.sha256(image.float().contiguous().numpy().tobytes()).digest() for image in images.cpu()]
        known = self._read()
        missing = {key: index for index, key in enumerate(keys) if key not in known}
        if missing:
            computed = self._compute(images[list(missing.values())])
            known |= dict(zip(missing, computed, strict=True))
            self._write(known)
        return torch.stack([known[key] for key in keys])

    def _compute(self, images: Tensor) -> Tensor:
        network = self.network.to(self.device)
        parts = []
        hidden = not self.show_progress or len(images) <= self.batch_size
        with tqdm(total=len(images), desc=f"{self.network.name} features", unit="image", disable=hidden) as bar:
            for batch in images.split(self.batch_size):
                parts.append(network(batch.to(self.device, torch.float32)).cpu())
                bar.update(len(batch))
        features = torch.cat(parts)
        if not bool(torch.isfinite(features).all()):
            raise DataError(f"{self.network.name} features must be finite: check the images and the network's weights")
        return features

    def _read(self) -> dict[bytes, Tensor]:
        if self.path is None or not self.path.is_file():
            return {}
        try:
            tensors = load_file(self.path)
            keys, features = tensors["sha256"], tensors["features"]
        except (OSError, SafetensorError, KeyError) as error:
            raise DataError(f"'{self.path}' is not a readable file of features: delete it") from error
        return {bytes(key.numpy()): row for key, row in zip(keys, features, strict=True)}

    def _write(self, known: dict[bytes, Tensor]) -> None:
        if self.path is None:
            return
        keys = torch.stack([torch.frombuffer(bytearray(key), dtype=torch.uint8) for key in known])
        save_tensors_atomically(
            self.path,
            {"sha256": keys, "features": torch.stack(list(known.values()))},
            {"network": self.network.name, "fingerprint": self.network.fingerprint},
        )
        logger.info("features of %d images kept in %s", len(known), self.path)
