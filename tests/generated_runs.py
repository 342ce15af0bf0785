# SPDX-License-Identifier: Apache-2.0
"""Folders as generating, interpolating and inpainting runs leave them, of random pictures."""

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 32


def random_pixels(seed, size=SIZE):
    """Return pixels (size, size, 3) that depend on the seed alone."""
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def write_run(folder: Path, prompts, size=SIZE, **more):
    """Write an image a prompt, with its line; ``more`` are further facts of every line."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for number, prompt in enumerate(prompts):
        file = f"images/{number}.png"
        Image.fromarray(random_pixels(number, size)).save(folder / file)
        lines.append(json.dumps({"prompt": prompt, "file": file, "seed": number, "scheduler": "A", **more}))
    (folder / "provenance.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def change_lines(folder: Path, change):
    """Let ``change`` alter each line's object in place, by its number."""
    path = folder / "provenance.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for number, entry in enumerate(entries):
        change(number, entry)
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))


def write_interpolation(folder: Path, first, second, num_rows=2, weights=(0.0, 0.5, 1.0)):
    """Write rows of images from one word to another, all of a weight after one another as the run has them."""
    prompts = [f"{first} :{1 - weight:g} AND {second} :{weight:g}" for weight in weights for _ in range(num_rows)]
    write_run(folder, prompts)
    change_lines(folder, lambda number, entry: entry.update(seed=number % num_rows))
    return folder


def write_inpainting(folder: Path, prompts, mode="RGB", size=SIZE):
    """Write, for each prompt, a picture and the same with its middle changed, where the soft mask is above zero."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for number, prompt in enumerate(prompts):
        before = random_pixels(100 + number, size)
        before = before if mode == "RGB" else before[..., 0]
        if mode == "I;16":
            before = before.astype(np.uint16) * 257
        mask = np.zeros((size, size), dtype=np.uint8)
        mask[size // 4 : size // 2, size // 4 : size // 2] = 255
        mask[size // 2, size // 4 : size // 2] = 1
        after = before.copy()
        after[mask > 0] ^= np.iinfo(before.dtype).max
        names = {"image": f"source_{number}.png", "file": f"images/{number}.png", "mask": f"images/{number}_soft.png"}
        for name, pixels in (("image", before), ("file", after), ("mask", mask)):
            Image.fromarray(pixels).save(folder / names[name])
        source = folder / names["image"]
        lines.append(
            {"prompt": prompt, "file": names["file"], "soft_mask_file": names["mask"], "seed": number}
            | {"image": str(source), "image_sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
        )
    (folder / "provenance.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder
