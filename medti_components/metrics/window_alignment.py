# SPDX-License-Identifier: Apache-2.0
"""Windows of images, moved and scaled by fractions of a pixel until they correlate best with another image."""

import torch
from torch import Tensor
from torch.nn import functional

from medti_components.transforms.gaussian_blur import blur_matrix
from medti_components.transforms.local_contrast import local_contrast

_STEPS = (0.5, 0.25)  # pixels
_FAINTEST = 1e-3  # standard deviation below which a window counts as flat


def standardised(windows: Tensor) -> Tensor:
    """Return windows (n, C, H, W), each channel of mean 0 and norm 1; a flat one stays near 0.

    >>> standardised(torch.tensor([[[[1.0, 3.0]]]])).flatten().tolist()
    [-0.7071067690849304, 0.7071067690849304]
    """
    centred = windows - windows.mean(dim=(-2, -1), keepdim=True)
    norm = centred.square().sum(dim=(-2, -1), keepdim=True).sqrt()
    return centred / norm.clamp(min=_FAINTEST * (windows.shape[-2] * windows.shape[-1]) ** 0.5)


def sampled(images: Tensor, windows: Tensor, edge: int) -> Tensor:
    """Sample square windows, bilinearly.

    Args:
        images: (n, C, H, W).
        windows: top, left and edge of a window of each, (n, 3) as shares of the image's edge.
        edge: pixels along a window's edge.

    Returns:
        (n, C, edge, edge).

    >>> image = torch.arange(16.0).view(1, 1, 4, 4)
    >>> sampled(image, torch.tensor([[0.5, 0.0, 0.5]]), 2).flatten().tolist()
    [8.0, 9.0, 12.0, 13.0]
    """
    steps = (torch.arange(edge, device=images.device) + 0.5) / edge
    rows, columns = (windows[:, place, None] + windows[:, 2:] * steps for place in (0, 1))
    shape = (len(images), edge, edge)
    grid = torch.stack([columns[:, None].expand(shape), rows[:, :, None].expand(shape)], dim=-1) * 2 - 1
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def contrasts(images: Tensor, windows: Tensor, edge: int) -> Tensor:
    """Return the softened local contrast of windows, standardised, (n, C, edge, edge); arguments as of :func:`sampled`.

    Softening, by a Gaussian of a sixteenth of the window's edge, takes noise away. It is done in the window, as is the
    rest: a window and an image that was cut out and enlarged would come out unlike if each were softened as a whole.
    """
    blur = blur_matrix(edge, edge / 16).to(images)
    softened = blur @ sampled(images, windows, edge) @ blur.T
    return standardised(local_contrast(softened, sigma=edge / 8))


def window_correlation(templates: Tensor, images: Tensor, windows: Tensor) -> Tensor:
    """Return the correlation of ``templates`` (n, C, edge, edge), made by :func:`contrasts`, with windows, (n,)."""
    found = contrasts(images, windows, templates.shape[-1])
    return (templates * found).sum(dim=(1, 2, 3)) / templates.shape[1]


def aligned_correlation(templates: Tensor, images: Tensor, windows: Tensor, pixel: float) -> Tensor:
    """Return the best correlation of ``templates`` with windows near given ones.

    A window is moved and scaled by a half and then by a quarter of a pixel, in all 27 combinations.

    Args:
        templates: (n, C, edge, edge), made by :func:`contrasts`.
        images: (n, C, H, W).
        windows: (n, 3), where to begin, see :func:`sampled`.
        pixel: as a share of an image's edge.

    Returns:
        (n,), mean over channels, in [-1, 1].
    """
    moves = torch.cartesian_prod(*[torch.tensor([0.0, -1.0, 1.0])] * 3).to(images.device)
    moves[:, :2] -= moves[:, 2:] / 2  # a window grows about its middle
    best = torch.full((len(images),), -torch.inf, device=images.device)
    for step in _STEPS:
        start = windows
        for move in moves * step * pixel:
            moved = start + move
            found = window_correlation(templates, images, moved)
            is_better = found > best
            best = torch.where(is_better, found, best)
            windows = torch.where(is_better[:, None], moved, windows)
    return best
