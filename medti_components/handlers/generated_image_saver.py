# SPDX-License-Identifier: Apache-2.0
"""Saves generated images, each with its provenance."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from medti_components.data.generated.provenance import ProvenanceFile, image_provenance
from medti_components.files import write_atomically

if TYPE_CHECKING:
    from medti_components.inferers.prompt_inferer import PromptInferer


def to_pixels(image: Tensor) -> np.ndarray:
    """Turn an image (3, H, W) in [-1, 1] into pixels (H, W, 3), uint8.

    >>> to_pixels(torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1)).tolist()
    [[[0, 128, 255]]]
    """
    scaled = ((image.float() + 1.0) * 127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def png_text(facts: dict[str, Any]) -> PngInfo:
    """Return text chunks of a PNG, one a fact."""
    chunks = PngInfo()
    for key, value in facts.items():
        chunks.add_itxt(key, value if isinstance(value, str) else str(value))
    return chunks


class GeneratedImageSaver:
    """Writes ``images/<name>.png`` of each image and its line in ``provenance.jsonl``.

    The PNG itself says in text chunks that it is synthetic, and from which prompt and seed.

    Args:
        output_dir: the run's folder.
        inferer: what generates; gives the settings.
    """

    def __init__(self, output_dir: str | Path, inferer: "PromptInferer") -> None:
        self.folder = Path(output_dir)
        self.inferer = inferer
        self.provenance = ProvenanceFile(output_dir)

    def attach(self, engine: Engine) -> None:
        """Save after each batch."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Save the batch of ``engine``."""
        batch = engine.state.batch
        entries = []
        for index, image in enumerate(engine.state.output["pred"]):
            file = f"images/{batch['name'][index]}.png"
            facts = image_provenance(engine.network, self.inferer, batch["prompt"][index], int(batch["seed"][index]))
            chunks = png_text(
                {
                    "Software": f"medti {facts['versions']['medti']}",
                    "synthetic": "true",
                    "prompt": facts["prompt"],
                    "seed": facts["seed"],
                    "base_model": facts["base_model"],
                }
            )
            with write_atomically(self.folder / file) as path:
                Image.fromarray(self.pixels(image)).save(path, pnginfo=chunks)
            more = self.more_facts(batch["name"][index], batch["prompt"][index])
            entries.append({"file": file, **facts, **more})
        self.provenance.add(entries)

    def pixels(self, image: Tensor) -> np.ndarray:
        """Return what is saved of a generated image (3, H, W) in [-1, 1]."""
        return to_pixels(image)

    def more_facts(self, name: str, prompt: str) -> dict[str, Any]:
        """Return what a kind of run says beyond how an image was generated."""
        del name, prompt
        return {}
