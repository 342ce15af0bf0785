# SPDX-License-Identifier: Apache-2.0
"""Textual inversion of a plain folder of pictures, to see what a base model makes of real images.

One word is learned from the training pictures by the same parts that the bundles use; the rest are held out. Written to
the output folder: the word, its held-out loss beside the empty prompt's and the initial rows', and a sheet with real
pictures, the same ones through the VAE, and generated ones at several guidance scales.

    python benchmarks/radiograph_inversion.py --image_dir radiographs --output_dir output/radiographs
    python benchmarks/radiograph_inversion.py --image_dir radiographs --labels_csv radiographs/labels.csv \
        --where no_finding=1 --where view=PA --output_dir output/radiographs
"""

import argparse
import csv
import json
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from PIL import Image, ImageDraw
from torch import Tensor

from medti_components.data.latent_cache import LatentCache
from medti_components.engines.denoising_batches import DenoisingBatches
from medti_components.engines.held_out_loss import HeldOutLoss
from medti_components.engines.learning_rate import scheduled_learning_rate
from medti_components.engines.textual_inversion import TextualInversion
from medti_components.engines.training_events import TRAINING_EVENTS
from medti_components.engines.training_history import TrainingHistory
from medti_components.errors import DataError, MedtiError
from medti_components.files import ensure_writable_directory, write_atomically, write_text_atomically
from medti_components.handlers.loss_monitor import LossMonitor
from medti_components.handlers.training_progress import TrainingProgress
from medti_components.inferers.denoising_inferer import DenoisingInferer
from medti_components.inferers.latent_sampler import LatentSampler
from medti_components.losses.denoising_loss import DenoisingLoss
from medti_components.networks.concept_embedding import ConceptEmbeddings
from medti_components.networks.embedding_file import save_embedding
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion
from medti_components.random_streams import random_stream

REPOSITORY = Path(__file__).resolve().parents[1]
TOKEN = "<radiograph>"
MARGIN, LINE = 4, 16


def picture_paths(image_dir: Path, labels_csv: Path | None, path_column: str, where: Sequence[str]) -> list[Path]:
    """Return the PNG files under ``image_dir``, or those of the table's rows that hold all of ``where``, sorted.

    Args:
        image_dir: folder of pictures, subfolders included.
        labels_csv: table with a column of paths relative to ``image_dir``, or None.
        path_column: name of that column.
        where: conditions ``column=value``.

    Raises:
        DataError: the table lacks a column, or no picture is left.
    """
    if labels_csv is None:
        if where:
            raise DataError("where needs a table: give --labels_csv")
        paths = sorted(image_dir.rglob("*.png"))
    else:
        conditions = [condition.partition("=")[::2] for condition in where]
        with open(labels_csv, newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            for column in (path_column, *(name for name, _ in conditions)):
                if column not in (table.fieldnames or ()):
                    raise DataError(
                        f"'{labels_csv}' has no column '{column}': it has {', '.join(table.fieldnames or ())}"
                    )
            rows = [row for row in table if all(row[name] == value for name, value in conditions)]
        paths = sorted(image_dir / row[path_column] for row in rows)
    if not paths:
        raise DataError(f"no picture in '{image_dir}' fits: correct --image_dir, --labels_csv or --where")
    return paths


def read_picture(path: Path, size: int) -> Tensor:
    """Read a picture as (3, size, size) in [-1, 1]; other sizes are scaled to ``size``.

    Raises:
        DataError: it is missing or unreadable.
    """
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise DataError(f"'{path}' is missing or not a readable picture: remove it from the folder or table") from error
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1).contiguous()


def split_pictures(paths: Sequence[Path], num_cases: int | None, num_held_out: int, seed: int) -> list[list[Path]]:
    """Return training and held-out pictures, drawn by ``seed``.

    Raises:
        DataError: there are too few.
    """
    order = [paths[index] for index in torch.randperm(len(paths), generator=random_stream(seed, "pictures")).tolist()]
    wanted = len(paths) - num_held_out if num_cases is None else num_cases
    if wanted < 1 or wanted + num_held_out > len(paths):
        raise DataError(
            f"{len(paths)} pictures are too few for {max(wanted, 1)} to train on and {num_held_out} held out: "
            "lower --num_cases or --num_held_out"
        )
    return [order[num_held_out : num_held_out + wanted], order[:num_held_out]]


def latents_of(paths: Sequence[Path], model: FrozenLatentDiffusion, description: str) -> LatentCache:
    """Encode pictures."""
    items = (
        {"image": read_picture(path, model.image_size), "concept": TOKEN, "patient_id": path.stem, "study_id": index}
        for index, path in enumerate(paths)
    )
    return LatentCache.from_dataset(items, model, [TOKEN], description=description)


def train(embeddings: ConceptEmbeddings, model: FrozenLatentDiffusion, latents: LatentCache, options: Any) -> None:
    """Learn the rows with MONAI's trainer, as the bundles do."""
    optimizer = torch.optim.AdamW(embeddings.parameters(), lr=options.learning_rate, weight_decay=0.0)
    schedule = scheduled_learning_rate(optimizer, "cosine", options.max_steps)
    SupervisedTrainer(
        device=model.device,
        max_epochs=1,
        epoch_length=options.max_steps,
        train_data_loader=range(options.max_steps),
        network=embeddings,
        optimizer=optimizer,
        loss_function=DenoisingLoss(),
        prepare_batch=DenoisingBatches(latents, model, options.batch_size, seed=options.seed),
        inferer=DenoisingInferer(model),
        iteration_update=TextualInversion(),
        train_handlers=[
            LrScheduleHandler(schedule, print_lr=False, epoch_level=False),
            LossMonitor(TrainingHistory(), interval=10),
            TrainingProgress(),
        ],
        decollate=False,
        event_names=list(TRAINING_EVENTS),
    ).run()


def sheet(rows: dict[str, Tensor], scale: int) -> Image.Image:
    """Lay rows of images (B, 3, H, W) in [-1, 1] out under their names, each pixel ``scale`` wide."""
    columns, tile = max(map(len, rows.values())), next(iter(rows.values())).shape[-1] * scale
    picture = Image.new("RGB", (MARGIN + columns * (tile + MARGIN), len(rows) * (tile + LINE + MARGIN)), "white")
    draw = ImageDraw.Draw(picture)
    for line, (name, images) in enumerate(rows.items()):
        top = line * (tile + LINE + MARGIN)
        draw.text((MARGIN, top + 1), name, "black")
        for column, image in enumerate(images):
            pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
            enlarged = Image.fromarray(pixels).resize((tile, tile), Image.Resampling.BICUBIC)
            picture.paste(enlarged, (MARGIN + column * (tile + MARGIN), top + LINE))
    return picture


def run(options: argparse.Namespace) -> None:
    """Learn, measure, draw."""
    output = ensure_writable_directory(options.output_dir)
    paths = picture_paths(options.image_dir, options.labels_csv, options.path_column, options.where)
    training, held_out = split_pictures(paths, options.num_cases, options.num_held_out, options.seed)
    model = FrozenLatentDiffusion.from_pretrained(str(options.base_model), device=options.device)
    latents = latents_of(training, model, "encoding pictures")
    embeddings = ConceptEmbeddings.initialized([TOKEN], options.num_vectors, model, options.seed)
    losses: dict[str, float] = {}
    measure = HeldOutLoss(model, latents_of(held_out, model, "encoding held-out pictures")) if held_out else None
    if measure is not None:
        losses = {
            "empty prompt": measure.of_empty_prompt(TOKEN),
            "initial rows": measure.of_rows(TOKEN, embeddings[TOKEN].rows),
        }
    initial = embeddings[TOKEN].rows.detach().clone()
    start = time.monotonic()
    train(embeddings, model, latents, options)
    minutes = (time.monotonic() - start) / 60
    rows = embeddings[TOKEN].rows.detach()
    if measure is not None:
        losses["learned rows"] = measure.of_rows(TOKEN, rows)
    metadata = {"base_model": model.name, "steps": str(options.max_steps), "seed": str(options.seed)}
    save_embedding(output / "radiograph.safetensors", TOKEN, rows, metadata)

    shown = torch.stack([read_picture(path, model.image_size) for path in (held_out or training)[: options.num_images]])
    with torch.no_grad():
        pictures = {"real": shown, "real, through the VAE": model.decode(model.encode(shown)[0])}
        empty = model.condition_from_prompt("", {})
        settings = [("initial rows, guidance 2", initial, 2.0)]
        settings += [(f"learned, guidance {scale:g}", rows, scale) for scale in options.guidance_scales]
        for name, own, guidance_scale in settings:
            sampler = LatentSampler(num_inference_steps=options.num_inference_steps, guidance_scale=guidance_scale)
            seeds = [options.seed * 10_000 + index for index in range(options.num_images)]
            pictures[name] = model.decode(sampler(model, model.condition_from_rows(own), empty, seeds))
    with write_atomically(output / "contact_sheet.png") as path:
        sheet(pictures, scale=max(1, 128 // model.image_size)).save(path)
    counts = {"num_training": len(training), "num_held_out": len(held_out)}
    results = {**counts, "held_out_loss": losses, "training_minutes": round(minutes, 2), "settings": vars(options)}
    write_text_atomically(output / "results.json", json.dumps(results, indent=2, default=str) + "\n")
    print(f"{counts['num_training']} pictures, {minutes:.1f} min; held-out loss: {losses}")
    print(output / "contact_sheet.png")


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image_dir", type=Path, required=True)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--labels_csv", type=Path)
    parser.add_argument("--path_column", default="path", help="of the table; relative to image_dir")
    parser.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="keep such rows; repeatable"
    )
    parser.add_argument("--base_model", default=REPOSITORY / "bundles" / "tiny_latent_diffusion" / "models")
    parser.add_argument("--num_cases", type=int, help="pictures to train on; all that are left where not given")
    parser.add_argument("--num_held_out", type=int, default=40)
    parser.add_argument("--num_vectors", type=int, default=64)
    parser.add_argument("--max_steps", type=int, default=1500)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--learning_rate", type=float, default=0.02)
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
    except MedtiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
