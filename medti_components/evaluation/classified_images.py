# SPDX-License-Identifier: Apache-2.0
"""A set of images as a classifier sees it: features and log-odds of the finding, by concept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.networks import eval_mode
from torch.utils.data import DataLoader, Dataset

from medti_components.networks.finding_classifier import FindingClassifier


@dataclass(frozen=True)
class ClassifiedImages:
    """Features (n, width) and log-odds (n,) of the finding, with the concept of each image.

    Log-odds rank images as probabilities do, without the ties that rounding to 0 and 1 makes.

    >>> images = ClassifiedImages(torch.eye(2), torch.tensor([-2.0, 3.0]), ("<a>", "<b>"))
    >>> images.of("<b>").log_odds
    tensor([3.])
    """

    features: torch.Tensor
    log_odds: torch.Tensor
    concepts: Sequence[str]

    def __len__(self) -> int:
        return len(self.concepts)

    def of(self, concept: str) -> "ClassifiedImages":
        """Return the images of one concept, in their order."""
        chosen = [index for index, own in enumerate(self.concepts) if own == concept]
        return ClassifiedImages(self.features[chosen], self.log_odds[chosen], [concept] * len(chosen))


def classify_images(
    network: FindingClassifier,
    images: Dataset[dict[str, Any]],
    device: str | torch.device = "cpu",
    batch_size: int = 64,
) -> ClassifiedImages:
    """Pass ``images``, items with "image" (C, H, W) in [-1, 1] and "concept", through ``network`` in evaluation mode.

    Features and log-odds come back on the CPU in the order of the images; the network's mode is restored.
    """
    features, log_odds, concepts = [], [], []
    with eval_mode(network.to(device)):
        for batch in DataLoader(images, batch_size=batch_size):
            own = network.features(batch["image"].to(device))
            features.append(own.float().cpu())
            logits = network.head(own).float()
            log_odds.append((logits[:, 1] - logits[:, 0]).cpu())
            concepts.extend(batch["concept"])
    return ClassifiedImages(torch.cat(features), torch.cat(log_odds), concepts)
