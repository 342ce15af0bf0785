# SPDX-License-Identifier: Apache-2.0
"""What inpainting by a text-to-image model is made of, as functions of tensors (the web UI's way of doing it)."""

import torch
from torch import Tensor
from torch.nn import functional

from medti_components.errors import ConfigError
from medti_components.transforms.gaussian_blur import gaussian_blur

FILLS = ("original", "noise", "zeros", "blurred")
COLOUR_RADII = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))
COLOUR_SIZE = 512  # pixels of an image that those radii are meant for


def num_steps_run(strength: float, num_inference_steps: int) -> int:
    """Return how many steps at the end of the schedule are run: ``int(min(strength, 0.999) * num_inference_steps)``.

    A strength of 1 leaves nothing of the image within the mask: all steps are run, from noise alone.

    Raises:
        ConfigError: the strength is not above 0 and at most 1, or no step is run.

    >>> num_steps_run(0.75, 100), num_steps_run(0.5, 25), num_steps_run(0.9999, 100), num_steps_run(1.0, 100)
    (75, 12, 99, 100)
    """
    if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not 0.0 < strength <= 1.0:
        raise ConfigError(f"strength must be above 0 and at most 1, got {strength!r}: correct --strength")
    if strength == 1.0:
        return num_inference_steps
    steps = int(min(strength, 0.999) * num_inference_steps)
    if steps == 0:
        raise ConfigError(
            f"strength {strength} of num_inference_steps {num_inference_steps} must run a step, it runs none: "
            "raise --strength or --num_inference_steps"
        )
    return steps


def paste_weight(mask: Tensor, mask_blur: float) -> Tensor:
    """Return how much of each pixel is painted: 1 within the mask, down to 0 within ``2.5 * mask_blur`` pixels of it.

    It is twice the blurred mask, cut off at 1, which at a straight edge is 1 up to the edge.

    Args:
        mask: bool (H, W).
        mask_blur: standard deviation of the Gaussian, in pixels.

    Returns:
        float32 (H, W) in [0, 1].

    >>> mask = torch.zeros(1, 9, dtype=torch.bool)
    >>> mask[:, :4] = True
    >>> [round(value, 2) for value in paste_weight(mask, 1.0)[0].tolist()]
    [1.0, 1.0, 1.0, 1.0, 0.6, 0.12, 0.01, 0.0, 0.0]
    """
    return (2.0 * gaussian_blur(mask[None].float(), mask_blur)[0]).clamp(0.0, 1.0)


def latent_mask(mask: Tensor, mask_blur: float, size: tuple[int, int]) -> Tensor:
    """Return which latents are painted: those of which the blurred mask covers at least half.

    Args:
        mask: bool (H, W).
        mask_blur: see :func:`paste_weight`.
        size: of the latents, (h, w).

    Returns:
        bool (h, w).

    >>> mask = torch.zeros(8, 8, dtype=torch.bool)
    >>> mask[:3] = True
    >>> latent_mask(mask, 0.0, (2, 2)).tolist()  # three rows of four
    [[True, True], [False, False]]
    """
    blurred = gaussian_blur(mask[None].float(), mask_blur)
    return functional.interpolate(blurred[None], size, mode="area")[0, 0] >= 0.5 - 1e-6


def blurred_colours(image: Tensor, weight: Tensor) -> Tensor:
    """Fill the painted part of an image with the blurred colours of its surroundings (the web UI's ``masking.fill``).

    Of the image without its painted part, ever narrower blurs are laid over one another, and at last the image itself;
    radii of 256 to 2 pixels are for images of 512.

    Args:
        image: (3, H, W) in [-1, 1].
        weight: (H, W) in [0, 1], 1 where nothing of the image is to be left.

    Returns:
        (3, H, W) in [-1, 1]; the image itself where the weight is 0.
    """
    known = 1.0 - weight[None]
    premultiplied = torch.cat([image * known, known])
    filled = torch.zeros_like(premultiplied)
    scale = max(image.shape[-2:]) / COLOUR_SIZE
    for radius, repeats in COLOUR_RADII:
        layer = gaussian_blur(premultiplied, radius * scale)
        for _ in range(repeats):
            filled = layer + filled * (1.0 - layer[3:])
    return (filled[:3] / filled[3:].clamp(min=1e-6)).clamp(-1.0, 1.0)


def square_around(weight: Tensor, padding: int) -> tuple[int, int, int]:
    """Return the smallest square that holds what is painted and ``padding`` pixels around it, shifted into the image.

    Args:
        weight: (H, W), above 0 where it is painted.
        padding: in pixels; less where the image ends, or is too small for it.

    Returns:
        Top row, left column, edge.

    Raises:
        ConfigError: what is painted is larger than the largest square in the image.

    >>> weight = torch.zeros(40, 60)
    >>> weight[10:20, 50:56] = 1
    >>> square_around(weight, 4)  # 18 rows of 14 columns, widened and shifted to the left
    (6, 42, 18)
    """
    rows, columns = weight.nonzero(as_tuple=True)
    top, bottom = int(rows.min()), int(rows.max()) + 1
    left, right = int(columns.min()), int(columns.max()) + 1
    height, width = weight.shape
    largest = min(height, width)
    needed = max(bottom - top, right - left)
    if needed > largest:
        raise ConfigError(
            f"mask and its blur must fit a square within the image of {width} x {height} pixels, they span "
            f"{right - left} x {bottom - top}: draw a smaller mask, or crop the image"
        )
    edge = min(needed + 2 * padding, largest)
    return _shifted(top, bottom, edge, height), _shifted(left, right, edge, width), edge


def _shifted(first: int, end: int, edge: int, length: int) -> int:
    """Return where an interval of ``edge`` begins that has first to end in its middle, or as near to it as it can."""
    return min(max((first + end - edge) // 2, 0), length - edge)
