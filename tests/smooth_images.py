# SPDX-License-Identifier: Apache-2.0
"""Images that look like no other: smooth random fields about one common picture, as organs are."""

import torch
from torch import Tensor
from torch.nn import functional

from medti_components.random_streams import random_stream


def smooth_images(number: int, name: str, edge: int = 32, in_grey: bool = False) -> Tensor:
    """Return (number, 3, edge, edge) in [-1, 1], a function of ``name``."""
    common = torch.randn(1, 3, 4, 4, generator=random_stream(0, "common"))
    own = torch.randn(number, 3, 7, 7, generator=random_stream(0, name))
    fields = [functional.interpolate(each, (edge, edge), mode="bicubic") for each in (common, own)]
    images = ((fields[0] + fields[1]) / 4).clamp(-1, 1)
    return images[:, :1].expand(-1, 3, -1, -1).contiguous() if in_grey else images
