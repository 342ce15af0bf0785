# SPDX-License-Identifier: Apache-2.0
"""A canvas and a finished batch, as handlers of an inpainting run meet them."""

from types import SimpleNamespace

import numpy as np
import torch

from medti_components.data.requests.inpainting_input import InpaintingInput
from medti_components.inferers.inpainting_canvas import InpaintingCanvas
from medti_components.inferers.prompt_composition import parse_prompt

MASKED = (slice(10, 20), slice(12, 24))


def canvas_of(pixels: np.ndarray, volumes=None, **settings) -> InpaintingCanvas:
    """Return a canvas with ten rows of twelve pixels to be painted."""
    mask = torch.zeros(pixels.shape[:2], dtype=torch.bool)
    mask[MASKED] = True
    facts = {"image": "x.png", "image_sha256": "0" * 64, "mask": "box(12,10,24,20)"}
    return InpaintingCanvas(InpaintingInput(pixels, mask, facts, volumes), **{"mask_blur": 0.0, **settings})


def engine_of(images: torch.Tensor, prompt: str = "<a>", network=None) -> SimpleNamespace:
    """Return what handlers see of an engine after a batch of generated images."""
    batch = {
        "name": [f"a_{seed}" for seed in range(len(images))],
        "prompt": [parse_prompt(prompt)] * len(images),
        "seed": torch.arange(len(images)),
    }
    return SimpleNamespace(state=SimpleNamespace(batch=batch, output={"pred": images}), network=network)
