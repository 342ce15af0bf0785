# SPDX-License-Identifier: Apache-2.0
"""How alike two images are, whatever was shifted, cropped, mirrored, brightened or blurred a little."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from medti_components.transforms.gaussian_blur import blur_matrix, local_contrast

SMALLEST_CROP = 0.8
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
