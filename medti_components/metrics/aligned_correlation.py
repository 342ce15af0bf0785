# SPDX-License-Identifier: Apache-2.0
"""How alike two images are, whatever was shifted, cropped, mirrored, brightened or blurred a little."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

_SOURCES_AT_ONCE = 16
_FAINTEST = 1e-3  # standard deviation under which a window counts as flat; a grey level of 255 is 8e-3


class AlignedCorrelation:
    """The best correlation of an image with any window of another.

    ``r(x, y) = max_w mean_c corr(x_c, w(y)_c)`` over windows w: the whole of y, shifted by up to a sixteenth of its
    edge, and squares of y at every place and of every edge down to ``smallest_crop``, each of y and of y mirrored. Both
    images are first reduced to ``size`` pixels, which takes most of noise and compression away; every window is
    standardised channel by channel, which takes brightness and contrast away (Lewis, "Fast normalized
    cross-correlation", 1995).

    Args:
        any_orientation: y is turned by quarters too, for images that have no up, down, left and right.
        size: edge in pixels at which images are compared.
        smallest_crop: edge of the smallest window as a share of y's, in (0, 1].
        device: where it is computed.
        show_progress: whether a bar with the time left goes to stderr.

    >>> image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> compare = AlignedCorrelation(show_progress=False)
    >>> round(float(compare(image.flip(-1) * 0.5 + 0.2, image)), 4)
    0.9999
    """

    def __init__(
        self,
        any_orientation: bool = False,
        size: int = 32,
        smallest_crop: float = 0.75,
        device: str | torch.device = "cpu",
        show_progress: bool = True,
    ) -> None:
        self.any_orientation = any_orientation
        self.size = size
        self.smallest_crop = smallest_crop
        self.device = torch.device(device)
        self.show_progress = show_progress

    @torch.no_grad()
    def __call__(self, images: Tensor, sources: Tensor, description: str = "comparing images") -> Tensor:
        """Return the correlation of each of ``images`` with each of ``sources``, float32 (n, m) in [-1, 1], on the CPU.

        Args:
            images: (n, C, H, W), the x of the formula.
            sources: (m, C, H', W'), the y.
            description: what the bar says.
        """
        if _is_grey(images) and _is_grey(sources):
            images, sources = images[:, :1], sources[:, :1]
        templates = self._templates(images.to(self.device))
        best = torch.full((len(images), len(sources)), -1.0)
        with tqdm(total=len(sources), desc=description, unit="image", disable=not self.show_progress) as bar:
            for start in range(0, len(sources), _SOURCES_AT_ONCE):
                part = _resized(sources[start : start + _SOURCES_AT_ONCE].to(self.device), self.size)
                best[:, start : start + len(part)] = self._best(templates, part).cpu()
                bar.update(len(part))
        return best

    def _templates(self, images: Tensor) -> dict[int, Tensor]:
        """Standardised images by edge: reduced to the edge of each window, and the middle of each at full size."""
        smallest = max(2, math.ceil(self.size * self.smallest_crop))
        margin = self.size // 16
        middle = _resized(images, self.size)[:, :, margin : self.size - margin, margin : self.size - margin]
        templates = {edge: _standardised(_resized(images, edge).flatten(2)) for edge in range(smallest, self.size)}
        edge = middle.shape[-1]
        shifted = _standardised(middle.flatten(2))
        templates[edge] = torch.cat([templates[edge], shifted]) if edge in templates else shifted
        return templates

    def _best(self, templates: dict[int, Tensor], sources: Tensor) -> Tensor:
        """Best correlation (n, m) of few sources at full size."""
        num_channels = sources.shape[1]
        found = []
        for oriented in self.orientations(sources):
            for edge, template in templates.items():
                windows = oriented.unfold(2, edge, 1).unfold(3, edge, 1).permute(0, 2, 3, 1, 4, 5)
                windows = _standardised(windows.reshape(len(sources), -1, num_channels, edge * edge))
                correlation = template @ windows.flatten(0, 1).T / num_channels
                found.append(correlation.view(len(template), len(sources), -1).amax(dim=2))
        num_images = min(map(len, found))
        return torch.stack([each.view(-1, num_images, len(sources)).amax(dim=0) for each in found]).amax(dim=0)

    def orientations(self, images: Tensor) -> Iterator[Tensor]:
        for turns in range(4 if self.any_orientation else 1):
            turned = images.rot90(turns, (2, 3))
            yield turned
            yield turned.flip(-1)


def _resized(images: Tensor, edge: int) -> Tensor:
    return functional.interpolate(images, (edge, edge), mode="bilinear", antialias=True)


def _standardised(windows: Tensor) -> Tensor:
    """Windows (..., C, pixels) as (..., C * pixels), each channel of mean 0 and norm 1."""
    centred = windows - windows.mean(dim=-1, keepdim=True)
    norm = centred.norm(dim=-1, keepdim=True)
    return (centred / norm.clamp(min=_FAINTEST * math.sqrt(windows.shape[-1]))).flatten(-2)


def _is_grey(images: Tensor) -> bool:
    return bool((images == images[:, :1]).all())
