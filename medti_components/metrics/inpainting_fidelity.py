# SPDX-License-Identifier: Apache-2.0
"""Whether inpainting put the finding where it was asked for, and nothing anywhere else."""

from dataclasses import dataclass

import torch
from torch import Tensor

from medti_components.errors import DataError
from medti_components.metrics.detection_rate import DetectionRate
from medti_components.metrics.interval_estimate import IntervalEstimate


@dataclass(frozen=True)
class InpaintingFidelity:
    """What :func:`measure_inpainting` found.

    Attributes:
        seen_inside: share of images in which the finding is seen after and was not before; since nothing outside the
            mask changes, what is seen is inside. None where the finding was seen in every image before.
        num_seen_before: images left out of that share, as the finding was seen in them before.
        largest_change_outside: largest absolute difference of a pixel outside the mask, in the images' own unit.
        unchanged_outside: share of images in which no pixel outside the mask has changed.
    """

    seen_inside: IntervalEstimate | None
    num_seen_before: int
    largest_change_outside: float
    unchanged_outside: IntervalEstimate


def largest_change_outside(before: Tensor, after: Tensor, mask: Tensor) -> float:
    """Return the largest absolute difference of a pixel outside the mask, 0 where all is within it.

    Args:
        before: image (C, H, W).
        after: the same after inpainting.
        mask: bool (1, H, W), true where the image may change.

    >>> before, mask = torch.zeros(1, 2, 2), torch.tensor([[[True, False], [False, False]]])
    >>> largest_change_outside(before, before + mask, mask), largest_change_outside(before, before + 3, mask)
    (0.0, 3.0)
    """
    return float(((after.double() - before.double()).abs() * ~mask.bool()).max())


def measure_inpainting(
    before: Tensor,
    after: Tensor,
    masks: Tensor,
    probability_before: Tensor,
    probability_after: Tensor,
    rate: DetectionRate | None = None,
) -> InpaintingFidelity:
    """Compare images before and after inpainting.

    Args:
        before: images (n, C, H, W).
        after: the same after inpainting.
        masks: bool (n, 1, H, W), true where the image may change, the blurred rim included.
        probability_before: of the finding, (n,) in [0, 1].
        probability_after: likewise, after.
        rate: decides what counts as seen; its threshold is 0.5 by default.

    Raises:
        DataError: shapes do not fit, or there is no image.
    """
    count = len(before)
    expected = (count, 1, *before.shape[2:])
    fits = after.shape == before.shape and tuple(masks.shape) == expected
    if count == 0 or not fits or any(len(each) != count for each in (probability_before, probability_after)):
        raise DataError(
            "before and after must have shape (n, C, H, W) with n >= 1, masks (n, 1, H, W), probabilities (n,), got "
            f"{tuple(before.shape)}, {tuple(after.shape)}, {tuple(masks.shape)}, {tuple(probability_after.shape)}"
        )
    changes = torch.tensor([largest_change_outside(*images) for images in zip(before, after, masks, strict=True)])
    return inpainting_fidelity(changes, probability_before, probability_after, rate)


def inpainting_fidelity(
    changes: Tensor, probability_before: Tensor, probability_after: Tensor, rate: DetectionRate | None = None
) -> InpaintingFidelity:
    """Sum up images of which the change outside the mask is known.

    Args:
        changes: of each image, by :func:`largest_change_outside`, (n,) with n >= 1.
        probability_before: of the finding, (n,) in [0, 1].
        probability_after: likewise, after.
        rate: decides what counts as seen; its threshold is 0.5 by default.
    """
    rate = rate or DetectionRate()
    was_unseen = probability_before < rate.threshold
    outcomes = probability_after[was_unseen] >= rate.threshold
    return InpaintingFidelity(
        rate.of_outcomes(outcomes) if len(outcomes) else None,
        int(len(changes) - was_unseen.sum()),
        float(changes.max()),
        rate.of_outcomes(changes == 0),
    )
