# SPDX-License-Identifier: Apache-2.0
"""A set of images as a classifier sees it: features and probability of the finding, by concept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from medti_components.networks.finding_classifier import FindingClassifier


@dataclass(frozen=True)
class ClassifiedImages:
    """Features (n, width) and probabilities (n,) of images, with the concept of each.

    >>> images = ClassifiedImages(torch.eye(2), torch.tensor([0.1, 0.9]), ("<a>", "<b>"))
    >>> images.of("<b>").probability
    tensor([0.9000])
    """

    features: torch.Tensor
    probability: torch.Tensor
    concepts: Sequence[str]

    def __len__(self) -> int:
        return len(self.concepts)

    def of(self, concept: str) -> "ClassifiedImages":
        """Return the images of one concept, in their order."""
        chosen = [index for index, own in enumerate(self.concepts) if own == concept]
        return ClassifiedImages(self.features[chosen], self.probability[chosen], [concept] * len(chosen))


@torch.no_grad()
def classify_images(
    network: FindingClassifier,
    images: Dataset[dict[str, Any]],
    device: str | torch.device = "cpu",
    batch_size: int = 64,
) -> ClassifiedImages:
    """Pass ``images``, items with "image" (C, H, W) in [-1, 1] and "concept", through ``network`` in evaluation mode.

    Features and probabilities come back on the CPU in the order of the images; the network's mode is restored.
    """
    was_training = network.training
    network.to(device).eval()
    features, probability, concepts = [], [], []
    for batch in DataLoader(images, batch_size=batch_size):
        own = network.features(batch["image"].to(device))
        features.append(own.float().cpu())
        probability.append(network.head(own).softmax(1)[:, 1].float().cpu())
        concepts.extend(batch["concept"])
    network.train(was_training)
    return ClassifiedImages(torch.cat(features), torch.cat(probability), concepts)
