# SPDX-License-Identifier: Apache-2.0
"""Saves generated prostate images as MRI volumes, one per sequence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from medti_components.errors import ConfigError
from medti_components.files import write_atomically
from medti_components.inferers.inpainting_canvas import InpaintingCanvas


class SequenceVolumeSaver:
    """Writes ``volumes/<name>_<sequence>.mha`` of each image: one axial slice with its true spacing.

    The image covers the field of view that training crops out, whatever its size in pixels, so that it is resampled
    (bilinear) to the grid of that crop. Values are float32 in [0, 1], where training puts the smallest and the largest
    value of a sequence's whole volume. Rows run from anterior to posterior, columns from the patient's right to left
    (ITK's identity direction).

    Args:
        output_dir: the run's folder.
        sequences: names of the channels; a single one fills all three, and the mean of them is saved.
        field_of_view_mm: edge of the square that an image covers.
        spacing_mm: (x, y, z) of the volume.

    Raises:
        ConfigError: there are neither three sequences nor one.
    """

    def __init__(
        self,
        output_dir: str | Path,
        sequences: Sequence[str],
        field_of_view_mm: float = 150.0,
        spacing_mm: Sequence[float] = (0.5, 0.5, 3.0),
    ) -> None:
        if len(sequences) not in (1, 3):
            raise ConfigError(f"sequences must name one or three sequences, got {list(sequences)}")
        self.folder = Path(output_dir) / "volumes"
        self.sequences = list(sequences)
        self.spacing_mm = tuple(float(value) for value in spacing_mm)
        self.size = (round(field_of_view_mm / self.spacing_mm[1]), round(field_of_view_mm / self.spacing_mm[0]))

    def attach(self, engine: Engine) -> None:
        """Save after each batch."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Save the batch of ``engine``."""
        for name, image in zip(engine.state.batch["name"], engine.state.output["pred"], strict=True):
            self.save(name, image)

    def save(self, name: str, image: Tensor) -> None:
        """Write the volumes of one image (3, H, W) in [-1, 1]."""
        for sequence, pixels in zip(self.sequences, self.resampled(image), strict=True):
            volume = SimpleITK.GetImageFromArray(pixels[None])
            volume.SetSpacing(self.spacing_mm)
            _write(volume, self.folder / f"{name}_{sequence}.mha", "true")

    def resampled(self, image: Tensor) -> np.ndarray:
        """Resample an image (3, H, W) in [-1, 1] to one slice per sequence, (sequences, rows, columns) in [0, 1]."""
        channels = (image.float().cpu() + 1.0) / 2.0
        if len(self.sequences) == 1:
            channels = channels.mean(dim=0, keepdim=True)
        shrinks = channels.shape[-1] > self.size[1]
        resized = nn.functional.interpolate(channels[None], self.size, mode="bilinear", antialias=shrinks)
        return resized[0].clamp(0.0, 1.0).numpy()


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
                note = f"slice {source.volumes.slice_index} painted"
                _write(volume, self.folder / f"{name}_{sequence}.mha", note)


def _write(volume: SimpleITK.Image, path: Path, note: str) -> None:
    """Write a compressed volume whose entry "Synthetic" is ``note``."""
    volume.SetMetaData("Synthetic", note)
    with write_atomically(path) as temporary:
        SimpleITK.WriteImage(volume, str(temporary), useCompression=True)
