# SPDX-License-Identifier: Apache-2.0
"""A set of images as a classifier of several findings sees it, with what each was to show."""

from dataclasses import dataclass
from typing import Any

import torch
from monai.networks import eval_mode
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medti_components.networks.finding_classifier import FindingClassifier


@dataclass(frozen=True)
class FindingScores:
    """Log-odds of each finding in each image, (n, findings), and whether it is there or was asked for, bool alike.

    >>> scores = FindingScores(torch.tensor([[2.0, -1.0], [-3.0, 0.5]]), torch.tensor([[True, False], [False, False]]))
    >>> (scores.probabilities > 0.5).tolist(), scores.alone(0).tolist(), scores.without().tolist()
    ([[True, False], [False, True]], [True, False], [False, True])
    """

    log_odds: Tensor
    labels: Tensor

    @property
    def probabilities(self) -> Tensor:
        """Of each finding, (n, findings) in [0, 1]."""
        return self.log_odds.sigmoid()

    def alone(self, finding: int) -> Tensor:
        """Return which images have this finding and no other, bool (n,)."""
        return self.labels[:, finding] & (self.labels.sum(dim=1) == 1)

    def without(self) -> Tensor:
        """Return which images have no finding, bool (n,)."""
        return ~self.labels.any(dim=1)


def score_findings(
    network: FindingClassifier,
    images: Dataset[dict[str, Any]],
    device: str | torch.device = "cpu",
    batch_size: int = 64,
) -> FindingScores:
    """Pass ``images``, items with "image" (C, H, W) in [-1, 1] and "label" (findings,), through ``network``.

    The network has a logit a finding and is used in evaluation mode; its mode is restored. Scores come back on the CPU,
    in the order of the images.
    """
    log_odds, labels = [], []
    with eval_mode(network.to(device)):
        for batch in DataLoader(images, batch_size=batch_size):
            log_odds.append(network(batch["image"].to(device)).float().cpu())
            labels.append(batch["label"].bool())
    return FindingScores(torch.cat(log_odds), torch.cat(labels))
