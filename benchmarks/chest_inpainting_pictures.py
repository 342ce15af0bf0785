# SPDX-License-Identifier: Apache-2.0
"""Healthy phantom radiographs to paint findings into, each with masks where the patient would have them.

Writes ``<number>.png`` and ``<number>_<finding>.png`` to the output folder: pictures prepared as the chest bundle
prepares radiographs, and ellipses about what differs when the same patient is drawn with the finding; of fluid and
opacities on both sides, about the larger one.

    python benchmarks/chest_inpainting_pictures.py --output_dir output/pictures --num_pictures 8 --seed 102
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose, CropForegroundd, SpatialPadd
from PIL import Image

from medti_components.data.phantoms.chest_phantom import ChestPhantom, chest_phantom
from medti_components.data.phantoms.chest_phantom_studies import DISEASES
from medti_components.data.requests.inpainting_mask import shape_mask
from medti_components.files import ensure_writable_directory, write_atomically
from medti_components.transforms.brighter_than import BrighterThan
from medti_components.transforms.resize_image import ResizeImaged

KIND = "painted"
WIDENED = 1.3  # of an ellipse that just reaches the borders of what it is about
SMALLEST = 0.14  # of the image's edge, the least half axis: half of one of 8 x 8 latents is covered wherever it lies


def prepared(image: np.ndarray, mask: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return image and mask without black borders, (size, size), as the bundle's preprocessing makes them."""
    keys = ["image", "mask"]
    transform = Compose(
        [
            CropForegroundd(
                keys, "image", BrighterThan(8), allow_smaller=True, start_coord_key=None, end_coord_key=None
            ),
            ResizeImaged(keys, size, keep_shape=True),
            SpatialPadd(keys, size, method="symmetric", mode="constant"),
        ]
    )
    pictures = zip(keys, (image, 255.0 * mask), strict=True)
    done = transform({key: torch.as_tensor(picture, dtype=torch.float32)[None] for key, picture in pictures})
    pixels, share = (np.asarray(done[key][0]) for key in keys)
    return np.rint(pixels).clip(0, 255).astype(np.uint8), share > 127.5


def difference(healthy: ChestPhantom, ill: ChestPhantom, finding: str) -> np.ndarray:
    """Return where the finding of a patient lies, bool (rows, columns)."""
    masks = {"cardiomegaly": ill.heart & ~healthy.heart, "pleural_effusion": ill.effusion, "pneumonia": ill.opacity}
    return masks[finding]


def ellipse_about(mask: np.ndarray, one_side: bool) -> str:
    """Return the ellipse about a mask (size, size), or about the half of it, left or right, that has more of it."""
    size = mask.shape[1]
    if one_side:
        left = np.arange(size)[None, :] < size / 2
        halves = (mask & left, mask & ~left)
        mask = max(halves, key=np.count_nonzero)
    centres, half_axes = [], []
    for places in reversed(np.nonzero(mask)):  # columns, then rows
        low, high = (float(np.quantile(places, share)) for share in (0.02, 0.98))
        centres.append((low + high + 1) / 2)
        half_axes.append(max(WIDENED * (high + 1 - low) / 2, SMALLEST * size))
    return "ellipse({:.1f},{:.1f},{:.1f},{:.1f})".format(*centres, *half_axes)


def write_pictures(output_dir: Path, num_pictures: int, seed: int, size: int) -> None:
    """Write pictures and masks."""
    folder = ensure_writable_directory(output_dir)
    number = index = 0
    while number < num_pictures:
        healthy = chest_phantom(seed, KIND, index)
        ill = {finding: chest_phantom(seed, KIND, index, [finding]) for finding in DISEASES}
        index += 1
        places = {finding: prepared(healthy.image, difference(healthy, ill[finding], finding), size) for finding in ill}
        if not all(place.any() for _, place in places.values()):
            continue  # a patch of opacity that is lost at this size
        with write_atomically(folder / f"{number}.png") as path:
            Image.fromarray(places[DISEASES[0]][0]).save(path, format="PNG")
        for finding, (_, place) in places.items():
            mask = shape_mask(ellipse_about(place, finding != "cardiomegaly"), (size, size))
            with write_atomically(folder / f"{number}_{finding}.png") as path:
                Image.fromarray(mask.numpy().astype(np.uint8) * 255).save(path, format="PNG")
        number += 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--num_pictures", type=int, default=8)
    parser.add_argument("--seed", type=int, default=102)
    parser.add_argument("--size", type=int, default=64, help="of the pictures, in pixels")
    options = parser.parse_args(arguments)
    write_pictures(options.output_dir, options.num_pictures, options.seed, options.size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
