# SPDX-License-Identifier: Apache-2.0
"""Spots that are dark on ADC and bright on the high-b-value image at the same place, as significant lesions are."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_curve
from torch import Tensor

from medti_components.errors import DataError


@dataclass(frozen=True)
class Spots:
    """The strongest spot of each image: ``strengths`` float64 (n,), ``places`` (row, column) int64 (n, 2)."""

    strengths: Tensor
    places: Tensor


@dataclass(frozen=True)
class LesionSpotDetector:
    """Find in each image the place that is at once dark on ADC and bright on HBV against what surrounds it.

    The contrast of a sequence is a difference of Gaussians: mean over the spot less mean over the surroundings. The
    strength of a spot is the lesser of ADC's darkness and HBV's brightness, each in standard deviations over images
    without a lesion, so that a place that is only dark, or only bright, is weak. Spread and threshold come from real
    images of known label (:meth:`calibrated`).

    Args:
        field_of_view_mm: width of the images.
        spread: standard deviation of both contrasts, (ADC, HBV), in units of the image.
        threshold: strength from which there is a spot.
        channels: which channels hold ADC and HBV.
        spot_mm: standard deviation of the Gaussian over a spot.
        surroundings_mm: that over what surrounds it.
        region_mm: spots are looked for this far about the centre of the image, where the prostate lies.

    >>> images = torch.zeros(2, 3, 32, 32)
    >>> images[0, 1, 12:15, 18:21], images[0, 2, 12:15, 18:21] = -1, 1  # dark and bright; the other has nothing
    >>> spots = LesionSpotDetector(field_of_view_mm=48.0)(images)
    >>> spots.places[0].tolist(), bool(spots.strengths[0] > spots.strengths[1])
    ([13, 19], True)
    """

    field_of_view_mm: float
    spread: tuple[float, float] = (1.0, 1.0)
    threshold: float = 0.0
    channels: tuple[int, int] = (1, 2)
    spot_mm: float = 2.0
    surroundings_mm: float = 6.0
    region_mm: float = 28.0

    def calibrated(self, negatives: Tensor, positives: Tensor) -> "LesionSpotDetector":
        """Return the detector with the spread of ``negatives`` and the threshold that separates the two sets best.

        Best is the largest sensitivity + specificity (Youden, Cancer 3:32-35, 1950); the threshold lies in the middle
        between the weakest spot that counts and the next weaker one.

        Args:
            negatives: real images without a lesion, (n, 3, H, W) in [-1, 1].
            positives: real images with one.

        Raises:
            DataError: ADC or HBV is the same everywhere.
        """
        darkness, brightness = (float(contrast.std()) for contrast in self._contrasts(negatives))
        if min(darkness, brightness) == 0:
            raise DataError(
                "ADC and HBV of images without a lesion must differ from place to place, got one value everywhere: "
                "correct --dataset_dir"
            )
        detector = replace(self, spread=(darkness, brightness))
        strengths = torch.cat([detector(images).strengths for images in (negatives, positives)])
        truth = np.repeat([0, 1], [len(negatives), len(positives)])
        false_positive, true_positive, thresholds = roc_curve(truth, strengths.numpy())
        weakest = float(thresholds[1:][int(np.argmax((true_positive - false_positive)[1:]))])  # the first is infinite
        weaker = strengths[strengths < weakest]
        next_weaker = float(weaker.max()) if len(weaker) else weakest
        return replace(detector, threshold=(weakest + next_weaker) / 2)

    def __call__(self, images: Tensor) -> Spots:
        """Return the strongest spot of each image, (n, 3, H, W) in [-1, 1]."""
        dark, bright = self._contrasts(images)
        strength = np.minimum(dark / self.spread[0], bright / self.spread[1])
        best = strength.argmax(axis=1)
        rows, columns = np.nonzero(self._region(images.shape[-2:]))
        places = torch.from_numpy(np.stack([rows[best], columns[best]], axis=1))
        return Spots(torch.from_numpy(strength[np.arange(len(best)), best]), places)

    def _contrasts(self, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return how dark ADC and how bright HBV is against the surroundings, each (n, pixels of the region)."""
        pixel_mm = self.field_of_view_mm / images.shape[-1]
        pixels = images[:, list(self.channels)].double().numpy()
        spot, surroundings = (
            gaussian_filter(pixels, (0, 0, size_mm / pixel_mm, size_mm / pixel_mm))
            for size_mm in (self.spot_mm, self.surroundings_mm)
        )
        contrast = (spot - surroundings)[:, :, self._region(images.shape[-2:])]
        return -contrast[:, 0], contrast[:, 1]

    def _region(self, size: torch.Size) -> np.ndarray:
        pixel_mm = self.field_of_view_mm / size[1]
        rows, columns = ((np.arange(length) - (length - 1) / 2) * pixel_mm for length in size)
        return np.hypot(rows[:, None], columns[None, :]) <= self.region_mm
