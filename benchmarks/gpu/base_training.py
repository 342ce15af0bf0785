# SPDX-License-Identifier: Apache-2.0
"""Trains the embedded base model by its bundle's own config, on one GPU or, in miniature, on a CPU.

    python benchmarks/gpu/base_training.py shapes --output_dir O    # codec, text encoder, then each shape for a while
    python benchmarks/gpu/base_training.py denoiser --output_dir O --initial_model M --shape no_outer_attention

``shapes`` writes ``vae/`` and ``text_encoder/`` once, and a ``<shape>.safetensors`` with a ``<shape>.csv`` each;
``denoiser`` writes a base model in diffusers' layout, ``models/``, and ``denoiser.csv``.
"""

import argparse
import copy
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from safetensors.torch import save_file

CONFIG = Path(__file__).resolve().parents[2] / "bundles/tiny_latent_diffusion/configs/train.json"
PLAIN, CROSS = ("DownBlock2D", "UpBlock2D"), ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")
SHAPES = {
    "no_outer_attention": ((64, 112, 128), (PLAIN, CROSS, CROSS)),
    "outer_attention": ((64, 104, 128), (CROSS, CROSS, CROSS)),
    "two_levels": ((104, 136), (CROSS, CROSS)),
}


def shape_settings(name: str) -> dict[str, Any]:
    """Return what the config's ``denoiser::definition`` takes of a shape."""
    widths, blocks = SHAPES[name]
    return {
        "denoiser::definition::block_out_channels": list(widths),
        "denoiser::definition::down_block_types": [down for down, _ in blocks],
        "denoiser::definition::up_block_types": [up for _, up in reversed(blocks)],
    }


def parser_of(settings: dict[str, Any]) -> ConfigParser:
    """Return the bundle's config with ``settings`` laid over it, initialised for speed."""
    parser = ConfigParser()
    parser.read_config(CONFIG)
    for key, value in settings.items():
        parser[key] = value
    parser["initialize"] = ["$set_determinism(seed=@seed)"]
    parser.get_parsed_content("initialize")
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
    return parser


def save_half(path: Path, **networks: torch.nn.Module) -> None:
    """Write the weights of networks in float16, each under its name."""
    tensors = {
        f"{name}.{key}": value.detach().half().cpu().contiguous()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }
    save_file(tensors, path)


class Deadline:
    """Ends a stage after ``seconds`` of steps; its learning rate follows the clock, a cosine after 100 steps.

    The first steps build kernels, so that the clock starts after ten.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.start: float | None = None

    def share(self, step: int) -> float:
        """Return the share of the time that has passed."""
        if step < 10:
            return 0.0
        self.start = self.start or time.monotonic()
        return min((time.monotonic() - self.start) / self.seconds, 1.0)

    def rate(self, step: int) -> float:
        """Return the factor of the learning rate."""
        return min(step / 100, 1.0) * (1 + math.cos(math.pi * self.share(step))) / 2

    def attach(self, engine: Any) -> None:
        """Stop ``engine`` when the time is over."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.stop)

    def stop(self, engine: Any) -> None:
        """Stop, if it is time."""
        if self.share(engine.state.iteration) >= 1.0:
            engine.terminate()


def train_denoiser(parser: ConfigParser, weights: Path, deadline: Deadline | None = None) -> None:
    """Run the denoiser's stage for its steps, or until a deadline.

    Its moving average is written to ``weights`` at the end and with each score: a borrowed machine may go early.
    """
    network = parser.get_parsed_content("denoiser::network").to(parser["device"])
    network["unet"].to(memory_format=torch.channels_last)
    trainer = parser.get_parsed_content("denoiser::trainer")
    averaged = parser.get_parsed_content("denoiser::averaged").module

    def save(engine: Any) -> None:
        save_half(weights, **dict(averaged.items()))

    if parser["score_interval"]:
        trainer.add_event_handler(Events.ITERATION_COMPLETED(every=parser["score_interval"]), save)
    trainer.add_event_handler(Events.COMPLETED, save)
    if deadline is not None:
        deadline.attach(trainer)
    start = time.monotonic()
    trainer.run()
    taken = time.monotonic() - start
    num_images = trainer.state.iteration * parser["denoiser_batch_size"]
    print(f"{num_images} images in {taken:.1f} s, {num_images / taken:.0f} a second with scores", flush=True)
    averaged.to(memory_format=torch.contiguous_format)


def compare_shapes(args: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Train codec and text encoder once, then every shape on them for the same number of steps."""
    first = parser_of(settings)
    start = time.monotonic()
    scenes = first.get_parsed_content("scenes")
    scenes.move_to(args.device)
    print(f"{len(scenes)} scenes in {time.monotonic() - start:.1f} s", flush=True)
    first.get_parsed_content("text_encoder::network").to(args.device)
    first.get_parsed_content("text_encoder::trainer").run()
    text_encoder = first.get_parsed_content("text_encoder::definition")
    save_half(args.output_dir / "text_encoder.safetensors", text_encoder=text_encoder)
    print(f"text encoder after {time.monotonic() - start:.1f} s", flush=True)
    autoencoder = first.get_parsed_content("autoencoder::network")
    from medti_components.base_model.stages import fit_autoencoder_to, take_average

    fit_autoencoder_to(scenes, autoencoder)
    autoencoder.to(args.device)
    if args.decoder_steps:
        first.get_parsed_content("decoder::trainer").run()
        take_average(first.get_parsed_content("decoder::network"), first.get_parsed_content("decoder::averaged"))
    save_half(args.output_dir / "vae.safetensors", vae=autoencoder)
    autoencoder.half().float()  # as it will be loaded
    print(f"decoder after {time.monotonic() - start:.1f} s", flush=True)
    for trial in args.trials:
        name, _, rate = trial.partition(":")
        parser = parser_of(
            settings
            | shape_settings(name)
            | {
                "output_dir": str(args.output_dir / trial.replace(":", "_")),
                "scenes": scenes,
                "autoencoder::network": autoencoder,
                "text_encoder::definition": copy.deepcopy(text_encoder),
                "denoiser_learning_rate": float(rate or args.learning_rate),
            }
        )
        train_denoiser(parser, args.output_dir / f"{trial.replace(':', '_')}.safetensors")
        table = Path(parser["output_dir"]) / "denoiser.csv"
        (args.output_dir / f"{trial.replace(':', '_')}.csv").write_text(table.read_text())
        print(f"{trial} after {time.monotonic() - start:.1f} s\n{table.read_text()}", flush=True)


def train_on(args: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Train a denoiser of one shape for long, on the codec and text encoder of ``initial_model``."""
    from medti_components.base_model.export import load_base_model

    deadline = Deadline(args.seconds) if args.seconds else None
    if deadline is not None:
        settings["denoiser_steps"] = settings["joint_steps"] = 10**6
        settings["denoiser::lr_scheduler"] = {
            "_target_": "torch.optim.lr_scheduler.LambdaLR",
            "optimizer": "@denoiser::optimizer",
            "lr_lambda": deadline.rate,
        }
    parser = parser_of(settings | shape_settings(args.shape))
    start = time.monotonic()
    scenes = parser.get_parsed_content("scenes")
    scenes.move_to(args.device)
    print(f"{len(scenes)} scenes in {time.monotonic() - start:.1f} s", flush=True)
    autoencoder, network = (parser.get_parsed_content(f"{name}::network") for name in ("autoencoder", "denoiser"))
    load_base_model(args.initial_model, autoencoder, network)
    autoencoder.to(args.device)
    weights = args.output_dir / f"{args.shape}.safetensors"
    train_denoiser(parser, weights, deadline)
    parser.get_parsed_content("export")()
    print((args.output_dir / "denoiser.csv").read_text(), flush=True)


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["shapes", "denoiser"])
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--num_scenes", type=int, default=100_000)
    parser.add_argument("--num_workers", type=int, default=16)
    parser.add_argument("--text_encoder_steps", type=int, default=1000)
    parser.add_argument("--decoder_steps", type=int, default=3000)
    parser.add_argument("--decoder_batch_size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch_size", type=int, default=512)
    parser.add_argument("--learning_rate", type=float, default=0.001)
    parser.add_argument("--caption_lengths", type=json.loads, default=[[16, 150], [26, 400]])
    parser.add_argument("--score_interval", type=int, default=400)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--capture", type=json.loads, default=True, help="true or false: CUDA graphs")
    parser.add_argument("--trials", nargs="+", default=list(SHAPES), help="shape, or shape:learning_rate")
    parser.add_argument("--shape", choices=SHAPES, default="no_outer_attention")
    parser.add_argument("--initial_model", type=Path)
    parser.add_argument("--seconds", type=float, default=0.0, help="of the denoiser's steps, in place of --steps")
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    settings = {
        "output_dir": str(args.output_dir),
        "device": args.device,
        "num_scenes": args.num_scenes,
        "num_workers": args.num_workers,
        "text_encoder_steps": args.text_encoder_steps,
        "decoder_steps": args.decoder_steps,
        "decoder_batch_size": args.decoder_batch_size,
        "decoder_learning_rate": 0.0006,
        "denoiser_steps": args.steps,
        "joint_steps": args.steps,
        "denoiser_batch_size": args.batch_size,
        "denoiser_learning_rate": args.learning_rate,
        "caption_lengths": args.caption_lengths,
        "score_interval": args.score_interval,
        "checkpoint_interval": 0,
        "dtype": args.dtype,
        "capture": args.capture,
        "show_progress": False,
    }
    (compare_shapes if args.command == "shapes" else train_on)(args, settings)


if __name__ == "__main__":
    main()
