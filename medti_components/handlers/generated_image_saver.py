# SPDX-License-Identifier: Apache-2.0
"""Saves generated images, each with its provenance, and painted ones with their masks too."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ignite.engine import Engine, Events
from PIL import Image
from torch import Tensor

from medti_components.data.generated.provenance import ProvenanceFile, image_provenance
from medti_components.files import write_atomically, write_text_atomically
from medti_components.inferers.inpainting_canvas import InpaintingCanvas
from medti_components.inferers.inpainting_sampler import InpaintingSampler
from medti_components.inferers.prompt_composition import ComposedPrompt
from medti_components.transforms.eight_bit_picture import png_text, to_pixels

if TYPE_CHECKING:
    from medti_components.inferers.prompt_inferer import PromptInferer


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

    def more_facts(self, name: str, prompt: ComposedPrompt) -> dict[str, Any]:
        """Return what a kind of run says beyond how an image was generated."""
        del name, prompt
        return {}


class InpaintedImageSaver(GeneratedImageSaver):
    """Writes each image laid over the picture it was painted into, its masks, and its line in ``provenance.jsonl``.

    ``masks/<name>.png`` is 255 where painting was asked for; ``masks/<name>_soft.png`` is above 0 wherever a pixel may
    have changed, with the share of what was painted. ``datalist.json`` lists images, masks and concepts for training a
    segmenter, as MONAI reads it.

    Args:
        output_dir: the run's folder.
        inferer: what generates, by an ``InpaintingSampler``.
        canvas: image and mask.
    """

    def __init__(self, output_dir: str | Path, inferer: "PromptInferer", canvas: InpaintingCanvas) -> None:
        super().__init__(output_dir, inferer)
        self.canvas = canvas

    def attach(self, engine: Engine) -> None:
        """Save after each batch, and the list at the end."""
        super().attach(engine)
        engine.add_event_handler(Events.COMPLETED, self.save_datalist)

    def pixels(self, image: Tensor) -> np.ndarray:
        """Return the picture with a generated image (3, size, size) laid over it."""
        return self.canvas.pasted(image)

    def more_facts(self, name: str, prompt: ComposedPrompt) -> dict[str, Any]:
        """Write the masks of an image, and return what it was painted into and how."""
        hard = self.canvas.source.mask.numpy().astype(np.uint8) * 255
        soft = np.ceil(self.canvas.weight.double().numpy() * 255).astype(np.uint8)  # nothing that may change is 0
        files = {"mask_file": f"masks/{name}.png", "soft_mask_file": f"masks/{name}_soft.png"}
        for file, pixels in zip(files.values(), (hard, soft), strict=True):
            with write_atomically(self.folder / file) as path:
                Image.fromarray(pixels).save(path, format="PNG")
        facts = {**self.canvas.source.facts, **files, "concepts": self._concepts(prompt)}
        sampler = self.inferer.sampler
        if isinstance(sampler, InpaintingSampler):
            facts |= {"strength": sampler.strength, "fill": sampler.fill, "num_steps_run": sampler.num_steps_run}
        square = [self.canvas.top, self.canvas.left, self.canvas.edge]
        return facts | {
            "mask_blur": self.canvas.mask_blur,
            "only_masked": self.canvas.only_masked,
            "padding": self.canvas.padding if self.canvas.only_masked else None,
            "square": square,
        }

    def save_datalist(self, engine: Any = None) -> None:
        """Write ``datalist.json`` of all painted images in the folder."""
        del engine
        lines = [json.loads(line) for line in self.provenance.path.read_text(encoding="utf-8").splitlines()]
        entries = [
            {"image": line["file"], "mask": line["mask_file"], "concepts": line["concepts"], "seed": line["seed"]}
            for line in lines
            if "mask_file" in line
        ]
        write_text_atomically(self.folder / "datalist.json", json.dumps({"training": entries}, indent=4) + "\n")

    def _concepts(self, prompt: ComposedPrompt) -> list[str]:
        """Return the learned words that the prompt asks for, without those it leads away from."""
        wanted = [part.text for part in prompt.parts if part.weight > 0]
        return [token for token in self.inferer.embeddings if any(token in text for text in wanted)]
