# SPDX-License-Identifier: Apache-2.0
"""How alike two images are, whatever was shifted, cropped, mirrored, brightened or blurred a little."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from medti_components.metrics.window_alignment import (
    aligned_correlation,
    contrasts,
    standardised,
    window_correlation,
)
from medti_components.transforms.gaussian_blur import blur_matrix
from medti_components.transforms.local_contrast import local_contrast

_PAIRS_AT_ONCE = 512


class AlignedCorrelation:
    """The best correlation of an image with any window of another.

    ``r(x, y) = max_w mean_c corr(x_c, w(y)_c)`` over windows w: the whole of y, shifted by up to a sixteenth of its
    edge, and squares of y at every place and of every edge down to ``smallest_crop``, each of y and of y mirrored.
    Correlation (Lewis, "Fast normalized cross-correlation", 1995) is that of local contrast, so that neither
    brightness nor the large dark and bright areas that all images of a kind share make two of them alike; and at
    ``size`` pixels, which takes most of noise and compression away.

    From coarse to fine: at half of ``size`` every pair; at ``size`` the ``num_candidates`` best sources of each image,
    each in its best window; moved by fractions of a pixel the three best of these.

    Args:
        any_orientation: y is turned by quarters too, for images that have no up, down, left and right.
        size: edge in pixels at which images are compared.
        smallest_crop: edge of the smallest window as a share of y's, in (0, 1].
        num_candidates: sources of an image that are looked at closely, at least 3.
        device: where it is computed.
        show_progress: whether a bar with the time left goes to stderr.

    >>> image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> compare = AlignedCorrelation(show_progress=False)
    >>> round(float(compare(image.flip(-1) * 0.9 - 0.2, image)), 2)
    1.0
    """

    def __init__(
        self,
        any_orientation: bool = False,
        size: int = 32,
        smallest_crop: float = 0.75,
        num_candidates: int = 32,
        device: str | torch.device = "cpu",
        show_progress: bool = True,
    ) -> None:
        self.any_orientation = any_orientation
        self.size = size
        self.smallest_crop = smallest_crop
        self.num_candidates = num_candidates
        self.device = torch.device(device)
        self.show_progress = show_progress

    @torch.no_grad()
    def __call__(self, images: Tensor, sources: Tensor, description: str = "comparing images") -> Tensor:
        """Return the correlation of each of ``images`` with each of ``sources``, on the CPU.

        Args:
            images: (n, C, H, W) in [-1, 1], the x of the formula.
            sources: (m, C, H', W') in [-1, 1], the y.
            description: what the bar says.

        Returns:
            float32 (n, m) in [-1, 1], minus infinity for sources that are no candidates.
        """
        if _is_grey(images) and _is_grey(sources):
            images, sources = images[:, :1], sources[:, :1]
        images, sources = (_resized(each.to(self.device), 2 * self.size) for each in (images, sources))
        image_contrast, source_contrast = (local_contrast(each, sigma=self.size / 4) for each in (images, sources))
        is_candidate = torch.ones(len(images), len(sources), dtype=torch.bool, device=self.device)
        hidden = not self.show_progress
        with tqdm(total=2 * len(sources), desc=description, unit="image", disable=hidden) as bar:
            if len(sources) > self.num_candidates:
                rough, _ = self._at_size(self.size // 2, image_contrast, source_contrast, is_candidate, bar)
                likely = rough.topk(self.num_candidates, dim=1).indices
                is_candidate = torch.zeros_like(is_candidate).scatter_(1, likely, True)
            else:
                bar.update(len(sources))
            best, window = self._at_size(self.size, image_contrast, source_contrast, is_candidate, bar)
        rows, columns = is_candidate.nonzero().T
        best[rows, columns] = self._in_windows(images, sources, rows, columns, window, is_final=False)
        columns = best.topk(min(3, len(sources)), dim=1).indices
        rows = torch.arange(len(images), device=self.device)[:, None].expand_as(columns).flatten()
        best[rows, columns.flatten()] = self._in_windows(
            images, sources, rows, columns.flatten(), window, is_final=True
        )
        return best.cpu()

    def orientations(self, images: Tensor) -> Iterator[Tensor]:
        """Yield ``images`` (..., H, W), these mirrored and, with ``any_orientation``, both turned by quarters."""
        for turns in range(4 if self.any_orientation else 1):
            turned = images.rot90(turns, (-2, -1))
            yield turned
            yield turned.flip(-1)

    def _at_size(
        self, size: int, images: Tensor, sources: Tensor, is_wanted: Tensor, bar: "tqdm[None]"
    ) -> tuple[Tensor, Tensor]:
        """Correlation of the wanted pairs at one size, minus infinity elsewhere, and the number of its window."""
        templates = [
            standardised(_inner(_resized(images, size)) if is_inner else _resized(images, edge))
            for edge, is_inner in self._edges(size)
        ]
        best = torch.full(is_wanted.shape, -math.inf, device=self.device)
        window = torch.zeros(is_wanted.shape, dtype=torch.int64, device=self.device)
        for index, source in enumerate(_resized(sources, size)):
            wanted = is_wanted[:, index].nonzero().flatten()
            if len(wanted):
                found = self._correlations([template[wanted] for template in templates], source).max(dim=1)
                best[wanted, index], window[wanted, index] = found.values, found.indices
            bar.update()
        return best, window

    def _edges(self, size: int) -> list[tuple[int, bool]]:
        """Edge of each kind of window, and whether it is the image's inner part that is looked for in it."""
        smallest = max(2, math.ceil(size * self.smallest_crop))
        return [(size - 2 * _margin(size), True), *((edge, False) for edge in range(smallest, size))]

    def _correlations(self, templates: list[Tensor], source: Tensor) -> Tensor:
        """Correlation of n images, as templates, with each window of one source (C, size, size), (n, windows)."""
        found = []
        oriented = torch.stack(list(self.orientations(source)))
        for template in templates:
            edge = template.shape[-1]
            windows = oriented.unfold(2, edge, 1).unfold(3, edge, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
            found.append(template.flatten(1) @ standardised(windows).flatten(1).T / len(source))
        return torch.cat(found, dim=1)

    def _windows(self) -> Tensor:
        """Top, left and edge as shares of the image's, orientation, and whether of the inner part, in that order."""
        tables = []
        for edge, is_inner in self._edges(self.size):
            places = torch.arange(self.size - edge + 1)
            orientation, top, left = torch.cartesian_prod(
                torch.arange(8 if self.any_orientation else 2), places, places
            ).T
            share = self.size
            table = [top / share, left / share, torch.full(top.shape, edge / share), orientation]
            tables.append(torch.stack([*table, torch.full(top.shape, float(is_inner))], dim=1))
        return torch.cat(tables).to(self.device)

    def _in_windows(
        self, images: Tensor, sources: Tensor, rows: Tensor, columns: Tensor, window: Tensor, is_final: bool
    ) -> Tensor:
        """Correlation of images ``rows`` with sources ``columns`` in their windows, moved to fit where ``is_final``."""
        oriented = torch.stack([_smoothed(each) for each in self.orientations(sources)])
        smooth = _smoothed(images)
        windows = self._windows()[window[rows, columns]]
        margin = _margin(self.size)
        edge, share = self.size - 2 * margin, margin / self.size
        inner = torch.tensor([share, share, 1 - 2 * share], device=self.device)
        whole = torch.tensor([0.0, 0.0, 1.0], device=self.device)
        found = []
        for part in torch.arange(len(rows), device=self.device).split(_PAIRS_AT_ONCE):
            own = windows[part]
            templates = contrasts(smooth[rows[part]], torch.where(own[:, 4:] > 0, inner, whole), edge)
            places = oriented[own[:, 3].long(), columns[part]]
            if is_final:
                found.append(aligned_correlation(templates, places, own[:, :3], 1 / self.size))
            else:
                found.append(window_correlation(templates, places, own[:, :3]))
        return torch.cat(found)


def _margin(size: int) -> int:
    return max(1, size // 16)


def _inner(images: Tensor) -> Tensor:
    margin = _margin(images.shape[-1])
    return images[..., margin:-margin, margin:-margin]


def _smoothed(images: Tensor) -> Tensor:
    """Take away what sampling every other pixel would fold."""
    rows, columns = (blur_matrix(length, 0.8).to(images) for length in images.shape[-2:])
    return rows @ images @ columns.T


def _resized(images: Tensor, edge: int) -> Tensor:
    return functional.interpolate(images, (edge, edge), mode="bilinear", antialias=True)


def _is_grey(images: Tensor) -> bool:
    return bool((images == images[:, :1]).all())
