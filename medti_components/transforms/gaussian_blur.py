# SPDX-License-Identifier: Apache-2.0
"""Gaussian blur of a width that is given in pixels, and what stands out from what is blurred."""

import math

import torch
from torch import Tensor
from torch.nn import functional

REACH = 2.5  # standard deviations, where OpenCV-based editors cut the kernel too


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Blur (C, H, W) by a Gaussian that ends at 2.5 ``sigma`` pixels; the pixels at the edges go on beyond them.

    A pixel further than ``ceil(2.5 * sigma)`` from every pixel above zero stays exactly zero.

    Args:
        image: float32 (C, H, W).
        sigma: standard deviation in pixels; 0 returns the image as it is.

    >>> image = torch.zeros(1, 9, 9)
    >>> image[:, :, 4] = 1  # a line
    >>> [round(value, 3) for value in gaussian_blur(image, 1.0)[0, 0].tolist()]
    [0.0, 0.004, 0.054, 0.242, 0.399, 0.242, 0.054, 0.004, 0.0]
    """
    if sigma <= 0:
        return image
    radius = math.ceil(REACH * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(image.dtype)
    padded = functional.pad(image[:, None], (radius,) * 4, mode="replicate")
    across = functional.conv2d(padded, kernel[None, None, None, :])
    return functional.conv2d(across, kernel[None, None, :, None])[:, 0]


def blur_matrix(length: int, sigma: float) -> Tensor:
    """Return the matrix (length, length) that blurs a line of pixels as :func:`gaussian_blur` does.

    ``rows @ image @ columns.T`` is the blurred image; where many small images are blurred, several times as fast.

    >>> line = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])
    >>> bool(torch.allclose(blur_matrix(5, 1.0) @ line, gaussian_blur(line[None, None], 1.0)[0, 0]))
    True
    """
    return gaussian_blur(torch.eye(length)[:, None], sigma)[:, 0].T.contiguous()


def local_contrast(images: Tensor, sigma: float, faintest: float = 0.1) -> Tensor:
    """Return what stands out from its surroundings, by as much whether these are calm or busy.

    It is ``(x - m) / (s + faintest)``, m and s being the mean and standard deviation about each pixel.

    Jarrett et al., "What is the best multi-stage architecture for object recognition?" (ICCV 2009), section 2.

    Args:
        images: (n, C, H, W); each channel is taken on its own.
        sigma: of the Gaussian that surroundings are weighed by, in pixels.
        faintest: contrast that counts little, in the unit of ``images``.

    >>> local_contrast(torch.ones(1, 1, 8, 8), sigma=1.0).abs().max() < 1e-5
    tensor(True)
    """
    rows, columns = (blur_matrix(length, sigma).to(images) for length in images.shape[-2:])
    difference = images - rows @ images @ columns.T
    spread = (rows @ difference.square() @ columns.T).sqrt()
    return difference / (spread + faintest)
