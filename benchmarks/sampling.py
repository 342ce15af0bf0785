# SPDX-License-Identifier: Apache-2.0
"""Time per sampling step of this sampler beside diffusers' StableDiffusionPipeline, and of composed prompts.

Two pairs, same base model, precision, scheduler and number of steps, in turns within one process:

- guided generation of ``--batch_size`` images: diffusers' pipeline (latents out, so that decoding is not in it) beside
  this sampler;
- a composition of ``--num_concepts`` concepts for one image beside the plain UNet on as many rows (the concepts and the
  unconditional one) without guidance: what composing costs beyond the UNet itself.

    python benchmarks/sampling.py --base_model bundles/tiny_latent_diffusion/models
    python benchmarks/sampling.py --sd2_random --device cuda --dtype bfloat16
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionPipeline
from result_table import show_table
from training_step import Setting, load_model, load_plain_parts, quieten, synchronise

from medti_components.inferers.latent_sampler import LatentSampler
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

GUIDANCE_SCALE = 2.0
FIELDS = ("comparison", "method", "images", "UNet rows a step", "UNet calls a step", "ms a step", "ratio")


class Run:
    """One way to take some sampling steps, and the UNet that it calls."""

    def __init__(self, name: str, num_images: int, run: Callable[[], None], unet: torch.nn.Module) -> None:
        self.name = name
        self.num_images = num_images
        self.run = run
        self.unet = unet

    def unet_rows(self) -> list[int]:
        """Run once and return the rows of each call of the UNet."""
        rows: list[int] = []

        def count(module: torch.nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor]) -> None:
            del module
            rows.append(len(args[0] if args else kwargs["sample"]))

        handle = self.unet.register_forward_pre_hook(count, with_kwargs=True)
        self.run()
        handle.remove()
        return rows


def conditions_of(model: FrozenLatentDiffusion, count: int) -> list[torch.Tensor]:
    """Make ``count`` text conditions (1, 77, width): what they say does not matter to time."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(count, 1, model.num_positions, model.width, generator=generator)
    return list(drawn.to(model.device, model.dtype))


def pipeline_run(setting: Setting, model: FrozenLatentDiffusion, batch_size: int, num_steps: int) -> Run:
    """Guided generation by diffusers' pipeline, up to the latents."""
    vae, unet, text_encoder, _ = load_plain_parts(setting)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        unet=unet,
        text_encoder=text_encoder.to(setting.precision),
        tokenizer=model.tokenizer,
        scheduler=EulerAncestralDiscreteScheduler.from_config(dict(model.scheduler_config)),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(setting.device)
    pipeline.set_progress_bar_config(disable=True)
    unconditional, condition = conditions_of(model, 2)

    def run() -> None:
        pipeline(
            prompt_embeds=condition.expand(batch_size, -1, -1),
            negative_prompt_embeds=unconditional.expand(batch_size, -1, -1),
            guidance_scale=GUIDANCE_SCALE,
            num_inference_steps=num_steps,
            height=model.image_size,
            width=model.image_size,
            generator=[torch.Generator().manual_seed(seed) for seed in range(batch_size)],
            output_type="latent",
        )

    return Run("diffusers' pipeline", batch_size, run, unet)


def sampler_run(model: FrozenLatentDiffusion, batch_size: int, num_steps: int) -> Run:
    """Guided generation by this sampler."""
    unconditional, condition = conditions_of(model, 2)
    sampler = LatentSampler(num_inference_steps=num_steps, guidance_scale=GUIDANCE_SCALE)

    def run() -> None:
        sampler(model, condition, unconditional, list(range(batch_size)))

    return Run("this sampler", batch_size, run, model.unet)


def composition_run(model: FrozenLatentDiffusion, num_concepts: int, num_steps: int) -> Run:
    """One image of several concepts by this sampler."""
    unconditional, *conditions = conditions_of(model, 1 + num_concepts)
    sampler = LatentSampler(num_inference_steps=num_steps, guidance_scale=GUIDANCE_SCALE)

    def run() -> None:
        sampler(model, conditions, unconditional, [0], weights=[1 / num_concepts] * num_concepts)

    return Run(f"composition of {num_concepts}", 1, run, model.unet)


def plain_run(setting: Setting, model: FrozenLatentDiffusion, num_rows: int, num_steps: int) -> Run:
    """As many images as a composition has UNet rows, by diffusers' UNet and scheduler without guidance."""
    _, unet, _, _ = load_plain_parts(setting)
    condition = torch.cat(conditions_of(model, num_rows))
    scheduler = EulerAncestralDiscreteScheduler.from_config(dict(model.scheduler_config))

    @torch.no_grad()
    def run() -> None:
        scheduler.set_timesteps(num_steps, device=setting.device)
        generators = [torch.Generator().manual_seed(seed) for seed in range(num_rows)]
        noise = [torch.randn(model.latent_shape, generator=generator) for generator in generators]
        latents = torch.stack(noise).to(setting.device, setting.precision) * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            scaled = scheduler.scale_model_input(latents, timestep).to(setting.precision)
            prediction = unet(scaled, timestep, condition, return_dict=False)[0]
            latents = scheduler.step(prediction, timestep, latents, generator=generators, return_dict=False)[0]

    return Run("plain UNet", num_rows, run, unet)


def measure(runs: list[Run], num_steps: int, num_rounds: int, device: str) -> list[float]:
    """Median seconds per step of each run, taken in turns."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(num_rounds):
        for each, own in zip(runs, times, strict=True):
            synchronise(device)
            start = time.perf_counter()
            each.run()
            synchronise(device)
            own.append((time.perf_counter() - start) / num_steps)
    return [statistics.median(own) for own in times]


def main() -> None:
    """Measure both pairs and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--base_model", help="folder of a base model in diffusers' layout")
    source.add_argument("--sd2_random", action="store_true", help="Stable Diffusion 2 base's size, random weights")
    parser.add_argument("--scale", type=int, default=1, help="divides the widths of --sd2_random, for a try on a CPU")
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--num_concepts", type=int, default=4)
    parser.add_argument("--num_steps", type=int, default=20)
    parser.add_argument("--num_rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--output", type=Path, help="CSV file to write as well")
    arguments = parser.parse_args()
    setting = Setting(
        base_model=arguments.base_model,
        scale=arguments.scale,
        num_concepts=arguments.num_concepts,
        num_vectors=64,
        learning_rate=0.005,
        device=arguments.device,
        dtype=arguments.dtype,
        is_compiled=False,
    )
    quieten()
    model = load_model(setting)
    steps, concepts = arguments.num_steps, arguments.num_concepts
    pairs = {
        "guidance": [
            pipeline_run(setting, model, arguments.batch_size, steps),
            sampler_run(model, arguments.batch_size, steps),
        ],
        "composition": [
            plain_run(setting, model, concepts + 1, steps),
            composition_run(model, concepts, steps),
        ],
    }
    rows = []
    for name, runs in pairs.items():
        rows_of = [each.unet_rows() for each in runs]  # warms up as well
        seconds = measure(runs, steps, arguments.num_rounds, arguments.device)
        for each, own, counted in zip(runs, seconds, rows_of, strict=True):
            figures = (f"{own * 1e3:.2f}", f"{own / seconds[0]:.2f}")
            counts = (str(each.num_images), f"{sum(counted) / steps:g}", f"{len(counted) / steps:g}")
            rows.append((name, each.name, *counts, *figures))
    show_table(FIELDS, rows, arguments.output)


if __name__ == "__main__":
    sys.exit(main())
