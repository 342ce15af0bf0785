# SPDX-License-Identifier: Apache-2.0
"""What a classifier of several findings sees in images, and what that comes to, each metric with its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from monai.networks import eval_mode
from torch import Tensor
from torch.utils.data import DataLoader

from medti_components.evaluation.evaluation import Images
from medti_components.evaluation.findings.judged_images import InterpolatedRows
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.prompt_fidelity import (
    DetectionRate,
    InpaintingFidelity,
    InterpolationTrend,
    inpainting_fidelity,
)
from medti_components.metrics.roc_auc import RocAuc
from medti_components.networks.finding_classifier import FindingClassifier

ALL = "all"


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
    images: Images,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
) -> FindingScores:
    """Pass ``images``, items with "image" (C, H, W) in [-1, 1] and "label" (findings,), through ``network``.

    The network has one logit per finding and is used in evaluation mode; its mode is restored. Scores come back on the
    CPU, in the order of the images.
    """
    log_odds, labels = [], []
    with eval_mode(network.to(device)):
        for batch in DataLoader(images, batch_size=batch_size):  # type: ignore[arg-type]
            log_odds.append(network(batch["image"].to(device)).float().cpu())
            labels.append(batch["label"].bool())
    return FindingScores(torch.cat(log_odds), torch.cat(labels))


def separation(scores: FindingScores, names: Sequence[str], auc: RocAuc) -> dict[str, IntervalEstimate]:
    """Return the area under the ROC curve of each finding, in images of it alone against images of none.

    Raises:
        DataError: there are no images of a finding alone, or of none.
    """
    negative = scores.log_odds[scores.without()]
    return {
        name: auc(scores.log_odds[scores.alone(column), column], negative[:, column])
        for column, name in enumerate(names)
    }


def detection(scores: FindingScores, names: Sequence[str], rate: DetectionRate) -> dict[str, IntervalEstimate]:
    """Return the share of images in which all findings are seen that should be: by combination, and by their number.

    >>> labels = torch.tensor([[True, False], [True, True]])
    >>> rates = detection(FindingScores(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), labels), ["a", "b"], DetectionRate())
    >>> {name: rate.value for name, rate in rates.items()}
    {'a': 1.0, 'a + b': 0.0, '1 finding': 1.0, '2 findings': 0.0}
    """
    groups: dict[str, Tensor] = {}
    for label in sorted({tuple(label) for label in scores.labels.tolist() if any(label)}, key=_combination):
        groups[" + ".join(name for name, is_shown in zip(names, label, strict=True) if is_shown)] = (
            scores.labels == torch.tensor(label)
        ).all(dim=1)
    for count in range(1, len(names) + 1):
        groups["1 finding" if count == 1 else f"{count} findings"] = scores.labels.sum(dim=1) == count
    return {
        name: rate(scores.probabilities[chosen], scores.labels[chosen])
        for name, chosen in groups.items()
        if bool(chosen.any())
    }


def _combination(label: tuple[bool, ...]) -> tuple[int, tuple[bool, ...]]:
    """Order by the number of findings, then by the findings' order."""
    return sum(label), tuple(not is_shown for is_shown in label)


def nothing_seen(scores: FindingScores, rate: DetectionRate) -> IntervalEstimate | None:
    """Return the share of images without a finding in which none is seen; None where there are no such images."""
    probabilities = scores.probabilities[scores.without()]
    return rate.of_outcomes((probabilities < rate.threshold).all(dim=1)) if len(probabilities) else None


def trends(
    scores: FindingScores, rows: Sequence[InterpolatedRows], trend: InterpolationTrend
) -> dict[str, IntervalEstimate | None]:
    """Return the trend of each interpolation's finding, and of all rows; None for all where their weights differ."""
    tables = [scores.log_odds[each.indices, each.finding] for each in rows]
    found: dict[str, IntervalEstimate | None] = {
        each.name: trend(table, each.weights) for each, table in zip(rows, tables, strict=True)
    }
    are_alike = all(torch.equal(each.weights, rows[0].weights) for each in rows)
    found[ALL] = trend(torch.cat(tables), rows[0].weights) if are_alike else None
    return found


def painted(
    before: FindingScores, after: FindingScores, changes: Tensor, names: Sequence[str], rate: DetectionRate
) -> dict[str, InpaintingFidelity]:
    """Return what inpainting did, by the findings that were asked for, and for all images.

    Where several findings were asked for, all must be seen.

    Args:
        before: scores of what was painted into, with the labels of what was asked for.
        after: scores after it.
        changes: of each image outside its soft mask, (n,).
        names: of the findings.
        rate: decides what counts as seen.
    """
    lowest = [scores.probabilities.masked_fill(~after.labels, 1.0).amin(dim=1) for scores in (before, after)]
    groups: Mapping[str, Tensor] = {
        " + ".join(name for name, is_asked in zip(names, label, strict=True) if is_asked): (
            after.labels == torch.tensor(label)
        ).all(dim=1)
        for label in sorted({tuple(label) for label in after.labels.tolist()}, key=_combination)
    }
    everything = torch.ones(len(changes), dtype=torch.bool)
    return {
        name: inpainting_fidelity(changes[chosen], lowest[0][chosen], lowest[1][chosen], rate)
        for name, chosen in {**groups, ALL: everything}.items()
    }
