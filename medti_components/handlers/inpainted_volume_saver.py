# SPDX-License-Identifier: Apache-2.0
"""Saves painted prostate images as MRI volumes."""

from pathlib import Path
from typing import Any

import SimpleITK
import torch
from ignite.engine import Engine, Events

from medti_components.files import write_atomically
from medti_components.handlers.sequence_volume_saver import SequenceVolumeSaver
from medti_components.inferers.inpainting_canvas import InpaintingCanvas


class InpaintedVolumeSaver:
    """Writes ``volumes/<name>_<sequence>.mha``: the volumes that were painted into, with the one slice painted.

    Geometry and all other voxels are the input's. ``volumes/<name>_mask.mha`` is the mask on the first sequence's grid.
    Where a picture was painted into, its volumes are those of a generated image.

    Args:
        output_dir: the run's folder.
        canvas: image and mask.
        volume_saver: saves what a picture shows.
    """

    def __init__(self, output_dir: str | Path, canvas: InpaintingCanvas, volume_saver: SequenceVolumeSaver) -> None:
        self.folder = Path(output_dir) / "volumes"
        self.canvas = canvas
        self.volume_saver = volume_saver

    def attach(self, engine: Engine) -> None:
        """Save after each batch."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Save the batch of ``engine``."""
        source, weight = self.canvas.source, self.canvas.weight
        for name, image in zip(engine.state.batch["name"], engine.state.output["pred"], strict=True):
            placed = self.canvas.placed(image)
            if source.volumes is None:
                self.volume_saver.save(name, torch.lerp(source.image, placed, weight))
                continue
            volumes = source.volumes.pasted(placed, weight)
            for sequence, volume in {**volumes, "mask": source.volumes.mask_volume(source.mask)}.items():
                volume.SetMetaData("Synthetic", f"slice {source.volumes.slice_index} painted")
                with write_atomically(self.folder / f"{name}_{sequence}.mha") as path:
                    SimpleITK.WriteImage(volume, str(path), useCompression=True)
