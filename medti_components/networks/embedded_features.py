# SPDX-License-Identifier: Apache-2.0
"""Features of a small network of our own that comes with the software: no download, and no medical image in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from medti_components.errors import BaseModelError
from medti_components.files import save_tensors_atomically
from medti_components.networks.finding_classifier import FindingClassifier

WEIGHTS = Path(__file__).with_suffix(".safetensors")
IMAGE_SIZE = 64
CHANNELS = (16, 32, 64, 128)


class EmbeddedFeatures(nn.Module):
    """Means and deviations of the maps of four residual units that learned to name what is in a procedural scene.

    Each feature has mean 0 and deviation 1 over the scenes, so that a kernel with fixed constants fits them. The
    features tell texture, brightness, shape and place apart; they know nothing of anatomy.

    Args:
        classifier: a logit per word of the scenes' captions; its features are taken.

    >>> EmbeddedFeatures(FindingClassifier(3, 5, CHANNELS))(torch.zeros(2, 3, 96, 96)).shape
    torch.Size([2, 480])
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, classifier: FindingClassifier) -> None:
        super().__init__()
        self.classifier = classifier
        width = classifier.head.in_features
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    @classmethod
    def shipped(cls) -> "EmbeddedFeatures":
        """Return the network with the weights that lie beside this file.

        Raises:
            BaseModelError: they don't, or are those of another network.
        """
        try:
            tensors = {name: tensor.float() for name, tensor in load_file(WEIGHTS).items()}
            network = cls(FindingClassifier(3, len(tensors["classifier.head.bias"]), CHANNELS))
            network.load_state_dict(tensors)
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise BaseModelError(
                f"the weights of the embedded features, '{WEIGHTS}', can't be loaded "
                f"({' '.join(str(error).split())[:80]}): install medti again, or set --features to another network"
            ) from error
        return network.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] -> features (B, 480); areas are averaged down to 64 by 64 pixels."""
        scaled = functional.interpolate(images, (IMAGE_SIZE, IMAGE_SIZE), mode="area")
        return (self.classifier.features(scaled) - self.centre) / self.spread


@torch.no_grad()
def save_embedded_features(
    classifier: FindingClassifier, scenes: Sequence[Mapping[str, Any]], path: str | Path
) -> None:
    """Measure centre and spread of the features on ``scenes`` and write the network in half precision.

    Raises:
        OutputError: the file can't be written.
    """
    classifier = classifier.eval().cpu()
    features = torch.cat(
        [
            classifier.features(torch.stack([scenes[index]["image"] for index in batch.tolist()]))
            for batch in torch.arange(len(scenes)).split(64)
        ]
    )
    network = EmbeddedFeatures(classifier)
    network.centre, network.spread = features.mean(dim=0), features.std(dim=0).clamp(min=1e-3)
    save_tensors_atomically(path, {name: tensor.half() for name, tensor in network.state_dict().items()})
