# SPDX-License-Identifier: Apache-2.0
"""How alike two images are, whatever was shifted, cropped, mirrored, brightened or blurred a little."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

_FAINTEST = 1e-3  # standard deviation under which a window counts as flat; a grey level of 255 is 8e-3


class AlignedCorrelation:
    """The best correlation of an image with any window of another.

    ``r(x, y) = max_w mean_c corr(x_c, w(y)_c)`` over windows w: the whole of y, shifted by up to a sixteenth of its
    edge, and squares of y at every place and of every edge down to ``smallest_crop``, each of y and of y mirrored. Both
    images are first reduced to ``size`` pixels, which takes most of noise and compression away; every window is
    standardised channel by channel, which takes brightness and contrast away (Lewis, "Fast normalized
    cross-correlation", 1995). Only the ``num_candidates`` best of a search at half of ``size`` are looked at.

    Args:
        any_orientation: y is turned by quarters too, for images that have no up, down, left and right.
        size: edge in pixels at which images are compared.
        smallest_crop: edge of the smallest window as a share of y's, in (0, 1].
        num_candidates: sources of an image that are looked at closely.
        device: where it is computed.
        show_progress: whether a bar with the time left goes to stderr.

    >>> image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> compare = AlignedCorrelation(show_progress=False)
    >>> round(float(compare(image.flip(-1) * 0.5 + 0.2, image)), 4)
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
            images: (n, C, H, W), the x of the formula.
            sources: (m, C, H', W'), the y.
            description: what the bar says.

        Returns:
            float32 (n, m) in [-1, 1], minus infinity for sources that are no candidates.
        """
        if _is_grey(images) and _is_grey(sources):
            images, sources = images[:, :1], sources[:, :1]
        images, sources = images.to(self.device), sources.to(self.device)
        is_candidate = torch.ones(len(images), len(sources), dtype=torch.bool, device=self.device)
        hidden = not self.show_progress
        with tqdm(total=2 * len(sources), desc=description, unit="image", disable=hidden) as bar:
            if len(sources) > self.num_candidates:
                rough = self._at_size(self.size // 2, images, sources, is_candidate, bar)
                best = rough.topk(self.num_candidates, dim=1).indices
                is_candidate = torch.zeros_like(is_candidate).scatter_(1, best, True)
            else:
                bar.update(len(sources))
            return self._at_size(self.size, images, sources, is_candidate, bar).cpu()

    def orientations(self, images: Tensor) -> Iterator[Tensor]:
        """Yield ``images`` (..., H, W), these mirrored and, with ``any_orientation``, both turned by quarters."""
        for turns in range(4 if self.any_orientation else 1):
            turned = images.rot90(turns, (-2, -1))
            yield turned
            yield turned.flip(-1)

    def _at_size(self, size: int, images: Tensor, sources: Tensor, is_wanted: Tensor, bar: "tqdm[None]") -> Tensor:
        """Correlation of the wanted pairs at one size, minus infinity elsewhere."""
        templates = self._templates(size, images)
        best = torch.full(is_wanted.shape, -math.inf, device=self.device)
        for index, source in enumerate(_resized(sources, size)):
            wanted = is_wanted[:, index].nonzero().flatten()
            if len(wanted):
                best[wanted, index] = self._best([template[wanted] for template in templates], source)
            bar.update()
        return best

    def _templates(self, size: int, images: Tensor) -> list[Tensor]:
        """Images (n, C, edge, edge) as the windows would show them: reduced to each edge, and their middle."""
        smallest = max(2, math.ceil(size * self.smallest_crop))
        margin = max(1, size // 16)
        middle = _resized(images, size)[:, :, margin : size - margin, margin : size - margin]
        return [_standardised(each) for each in (middle, *(_resized(images, edge) for edge in range(smallest, size)))]

    def _best(self, templates: list[Tensor], source: Tensor) -> Tensor:
        """Best correlation (n,) of images, as templates, with one source (C, size, size)."""
        found = []
        oriented = torch.stack(list(self.orientations(source)))
        for template in templates:
            edge = template.shape[-1]
            windows = oriented.unfold(2, edge, 1).unfold(3, edge, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
            products = template.flatten(1) @ _standardised(windows).flatten(1).T
            found.append(products.amax(dim=1) / len(source))
        return torch.stack(found).amax(dim=0)


def _resized(images: Tensor, edge: int) -> Tensor:
    return functional.interpolate(images, (edge, edge), mode="bilinear", antialias=True)


def _standardised(windows: Tensor) -> Tensor:
    """Windows (n, C, H, W), each channel of mean 0 and norm 1."""
    centred = windows - windows.mean(dim=(-2, -1), keepdim=True)
    norm = centred.square().sum(dim=(-2, -1), keepdim=True).sqrt()
    return centred / norm.clamp(min=_FAINTEST * math.sqrt(windows.shape[-2] * windows.shape[-1]))


def _is_grey(images: Tensor) -> bool:
    return bool((images == images[:, :1]).all())
