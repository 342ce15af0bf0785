# SPDX-License-Identifier: Apache-2.0
"""Whether two images are one: their details correlate, which those of different patients do not."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from medti_components.transforms.gaussian_blur import local_contrast

SMALLEST_CROP = 0.8


def detail_correlation(images: Tensor, sources: Tensor, size: int = 64, sigma: float = 2.0) -> Tensor:
    """Return the best correlation of the details of each image with those of any window of its source.

    Details are local contrast within ``sigma`` pixels, at ``size`` pixels. An image is looked for at every place and in
    every size from 80 % of the source's edge to all of it, in pixels, by normalised cross-correlation through Fourier
    transforms (Lewis, "Fast normalized cross-correlation", 1995). Pictures that were resized, cropped and compressed
    come out above 0.75; those of different patients below 0.6, unlike in :class:`AlignedCorrelation`, for which bodies
    in one position are alike.

    Args:
        images: (n, C, H, W) of any range.
        sources: (n, C, H', W').
        size: edge in pixels at which they are compared.
        sigma: standard deviation in pixels of what counts as near by.

    Returns:
        (n,) in [-1, 1].

    >>> image = torch.rand(1, 1, 80, 80, generator=torch.Generator().manual_seed(0))
    >>> bool(detail_correlation(image[..., 4:76, 8:80], image) > 0.75), bool(detail_correlation(image.mT, image) < 0.3)
    (True, True)
    """
    wanted = local_contrast(_resized(sources, size), sigma=sigma)
    spectrum, power = torch.fft.rfft2(wanted), torch.fft.rfft2(wanted.square().sum(dim=1))
    best = torch.full((len(images),), -1.0, device=images.device)
    for edge in range(math.ceil(size * SMALLEST_CROP), size + 1):
        template = local_contrast(_resized(images, edge), sigma=sigma)
        places = slice(size - edge + 1)
        products = torch.fft.irfft2((spectrum * torch.fft.rfft2(template, s=(size, size)).conj()).sum(dim=1))
        window = torch.fft.rfft2(torch.ones(edge, edge, device=images.device), s=(size, size))
        energy = torch.fft.irfft2(power * window.conj())[:, places, places].clamp(min=1e-6)
        norm = template.square().sum(dim=(1, 2, 3)).clamp(min=1e-6).sqrt()
        found = products[:, places, places] / energy.sqrt() / norm[:, None, None]
        best = torch.maximum(best, found.amax(dim=(1, 2)))
    return best.clamp(max=1)


def _resized(images: Tensor, edge: int) -> Tensor:
    return functional.interpolate(images, (edge, edge), mode="bilinear", antialias=True)
