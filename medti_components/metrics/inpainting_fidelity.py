# SPDX-License-Identifier: Apache-2.0
"""Whether inpainting put the finding where it was asked for, and nothing anywhere else."""

from dataclasses import dataclass

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
    """

    seen_inside: IntervalEstimate | None
    num_seen_before: int
    largest_change_outside: float


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
    rate = rate or DetectionRate()
    was_unseen = probability_before < rate.threshold
    outcomes = probability_after[was_unseen] >= rate.threshold
    change = (after.double() - before.double()).abs() * ~masks.bool()
    return InpaintingFidelity(
        rate.of_outcomes(outcomes) if len(outcomes) else None,
        int(count - was_unseen.sum()),
        float(change.max()),
    )
