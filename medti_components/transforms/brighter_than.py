# SPDX-License-Identifier: Apache-2.0
"""What counts as the picture, and what as its black border."""

import torch

from medti_components.errors import DataError


class BrighterThan:
    """Select the values above ``threshold``: the ``select_fn`` of MONAI's CropForeground, settable in a config.

    Black borders of a JPG are not all zero; hence a threshold.

    Args:
        threshold: in the units of the image.

    Raises:
        DataError: no value is above the threshold; the message names the file where MONAI knows it.

    Example:
        >>> from monai.transforms import CropForeground
        >>> image = torch.zeros(1, 6, 6)
        >>> image[0, 1:4, 2:6] = 100
        >>> image[0, 5, 0] = 3  # noise
        >>> tuple(CropForeground(select_fn=BrighterThan(8), allow_smaller=True)(image).shape)
        (1, 3, 4)
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        selected = image > self.threshold
        if not bool(selected.any()):
            name = getattr(image, "meta", {}).get("filename_or_obj", "an image")
            raise DataError(
                f"'{name}' is black, nothing in it is brighter than {self.threshold:g}: "
                "download it again, or leave such images out by --skip_unreadable true"
            )
        return selected
