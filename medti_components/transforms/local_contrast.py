# SPDX-License-Identifier: Apache-2.0
"""Local contrast: what stands out from its surroundings, by as much whether these are calm or busy."""

from torch import Tensor

from medti_components.transforms.gaussian_blur import blur_matrix


def local_contrast(images: Tensor, sigma: float, faintest: float = 0.1) -> Tensor:
    """Return ``(x - m) / (s + faintest)``, m and s being the mean and standard deviation about each pixel.

    Jarrett et al., "What is the best multi-stage architecture for object recognition?" (ICCV 2009), section 2.

    Args:
        images: (n, C, H, W); each channel is taken on its own.
        sigma: of the Gaussian that surroundings are weighed by, in pixels.
        faintest: contrast that counts little, in the unit of ``images``.

    >>> import torch
    >>> local_contrast(torch.ones(1, 1, 8, 8), sigma=1.0).abs().max() < 1e-5
    tensor(True)
    """
    rows, columns = (blur_matrix(length, sigma).to(images) for length in images.shape[-2:])
    difference = images - rows @ images @ columns.T
    spread = (rows @ difference.square() @ columns.T).sqrt()
    return difference / (spread + faintest)
