# SPDX-License-Identifier: Apache-2.0
"""Textual inversion of real radiographs by the chest bundle, to see what a base model makes of them.

Trains the bundle's own config and writes to the output folder, beside what the bundle leaves there, ``results.json``
and a sheet per word: real held-out radiographs, the same ones through the VAE, and images generated from the initial
rows and from the learned ones at several guidance scales.

    python benchmarks/radiograph_inversion.py --dataset_dir nih_chest_xray_64px --output_dir output/radiographs
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from monai.bundle import create_workflow
from PIL import Image, ImageDraw
from torch import Tensor

from medti_components.bundle.error_line import error_line
from medti_components.files import write_atomically, write_text_atomically
from medti_components.inferers.latent_sampler import LatentSampler
from medti_components.networks.embedding_files.embedding_file import concept_name
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion
from medti_components.transforms.eight_bit_picture import to_pixels

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = [
    REPOSITORY / "bundles" / "chest_xray_textual_inversion" / "configs" / "train.json",
    REPOSITORY / "configs" / "embedded.json",
]
KEYS = ("dataset_dir", "dataset_format", "views", "concepts", "num_cases", "num_validation_cases", "num_vectors")
KEYS += ("max_steps", "batch_size", "learning_rate", "base_model", "output_dir", "cache_dir", "seed", "device")
MARGIN, LINE = 4, 16


def sheet(rows: dict[str, Tensor], scale: int) -> Image.Image:
    """Lay rows of images (B, 3, H, W) in [-1, 1] out under their names, each pixel ``scale`` wide."""
    columns, tile = max(map(len, rows.values())), next(iter(rows.values())).shape[-1] * scale
    picture = Image.new("RGB", (MARGIN + columns * (tile + MARGIN), len(rows) * (tile + LINE + MARGIN)), "white")
    draw = ImageDraw.Draw(picture)
    for line, (name, images) in enumerate(rows.items()):
        top = line * (tile + LINE + MARGIN)
        draw.text((MARGIN, top + 1), name, "black")
        for column, image in enumerate(images):
            enlarged = Image.fromarray(to_pixels(image)).resize((tile, tile), Image.Resampling.BICUBIC)
            picture.paste(enlarged, (MARGIN + column * (tile + MARGIN), top + LINE))
    return picture


def generated(model: FrozenLatentDiffusion, rows: Tensor, guidance_scale: float, options: argparse.Namespace) -> Tensor:
    """Return ``num_images`` images (B, 3, H, W) in [-1, 1] of a word's rows, from the same noise each time."""
    sampler = LatentSampler(num_inference_steps=options.num_inference_steps, guidance_scale=guidance_scale)
    seeds = [options.seed * 10_000 + index for index in range(options.num_images)]
    empty = model.condition_from_prompt("", {})
    return model.decode(sampler(model, model.condition_from_rows(rows), empty, seeds))


def run(options: argparse.Namespace) -> None:
    """Train, draw, sum up."""
    given = {key: getattr(options, key) for key in KEYS if getattr(options, key) is not None}
    overrides = {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}
    workflow = create_workflow(
        config_file=[str(path) for path in CONFIGS],
        workflow_type="train",
        logging_file=False,
        preview_interval=max(options.max_steps, 1),  # above 0 the decoder is kept
        **overrides,
    )
    parts = workflow.parser.get_parsed_content
    model, embeddings, held_out = (parts(key) for key in ("network_def", "concept_embeddings", "validate::dataset"))
    initial = {embedding.token: embedding.rows.detach().clone() for embedding in embeddings}
    pictures: dict[str, dict[str, Tensor]] = {}
    for token in initial:
        real = [item["image"] for item in held_out if item["concept"] == token][: options.num_images]
        shown = torch.stack(real).to(model.device)
        with torch.no_grad():
            pictures[token] = {"real": shown, "real, through the VAE": model.decode(model.encode(shown)[0])}
    start = time.monotonic()
    workflow.run()
    minutes = (time.monotonic() - start) / 60
    output = Path(options.output_dir)
    for token, rows in pictures.items():
        learned = embeddings[token].rows.detach()
        with torch.no_grad():
            rows["initial rows, guidance 2"] = generated(model, initial[token], 2.0, options)
            for scale in options.guidance_scales:
                rows[f"learned, guidance {scale:g}"] = generated(model, learned, scale, options)
        with write_atomically(output / f"{concept_name(token)}.png") as path:
            sheet(rows, scale=max(1, 128 // model.image_size)).save(path, format="PNG")
        print(output / f"{concept_name(token)}.png")
    losses = json.loads((output / "held_out_loss.json").read_text())
    results = {"training_minutes": round(minutes, 2), "settings": vars(options), **losses}
    write_text_atomically(output / "results.json", json.dumps(results, indent=2, default=str) + "\n")


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", type=Path, required=True)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--dataset_format", default="nih")
    parser.add_argument("--views", nargs="+", default=["AP", "PA"])
    parser.add_argument("--concepts", nargs="+", default=["<chest_xray_no_finding>", "<chest_xray_pleural_effusion>"])
    parser.add_argument("--num_cases", type=int, default=40)
    parser.add_argument("--num_validation_cases", type=int, default=10)
    parser.add_argument("--num_vectors", type=int, default=64)
    parser.add_argument("--max_steps", type=int, default=1500)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--learning_rate", type=float, default=0.02)
    parser.add_argument("--base_model", type=Path, help="the embedded one where not given")
    parser.add_argument("--cache_dir", type=Path)
    parser.add_argument("--guidance_scales", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    parser.add_argument("--num_inference_steps", type=int, default=100)
    parser.add_argument("--num_images", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0, or 1 with one line on stderr for what the user can put right."""
    warnings.filterwarnings("ignore", category=UserWarning, module="torch.optim.lr_scheduler")
    try:
        run(parsed(arguments))
    except Exception as error:  # MONAI wraps what its configs raise
        line = error_line(error)
        if line is None:
            raise
        print(line, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
