# SPDX-License-Identifier: Apache-2.0
"""The chest bundle's own configs at Stable Diffusion 2's size, with random weights: training and generation.

python benchmarks/gpu/stable_diffusion_2_runs.py --output runs.json --device cuda
"""

import argparse
import gc
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import monai.bundle
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from results import Results

from medti_components.apps.phantoms import Phantoms

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from stable_diffusion_2 import SCHEDULER_CONFIG, build_parts, byte_tokenizer  # noqa: E402

BUNDLE = ROOT / "bundles/chest_xray_textual_inversion/configs"
OVERLAYS: dict[str, list[str]] = {"bf16.json": ["bf16.json"], "default": [], "low_memory.json": ["low_memory.json"]}
TOKEN = "<chest_xray_no_finding>"


def write_base_model(folder: Path, device: str, scale: int) -> None:
    """Write Stable Diffusion 2 base's architecture with random float16 weights in diffusers' layout."""
    vae, unet, text_encoder = build_parts(device, torch.float16, scale)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        unet=unet,
        text_encoder=text_encoder,
        tokenizer=byte_tokenizer(),
        scheduler=DDPMScheduler(**SCHEDULER_CONFIG),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)


def run(results: Results, name: str, run_id: str, limit: float | None, settings: dict[str, Any]) -> None:
    """Run a config; add its time and the peak of the memory that it allocated on the GPU."""
    gc.collect()
    is_cuda = str(settings["device"]).startswith("cuda")
    if is_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    start = time.perf_counter()
    monai.bundle.run(run_id, **settings)
    results.add(f"{run_id}, {name}, in all", time.perf_counter() - start, "s")
    if is_cuda:
        peak = (torch.cuda.max_memory_allocated() - before) / 2**30
        results.add(f"{run_id}, {name}, peak memory", peak, "GiB", limit)


def main() -> None:
    """Write the base model and the phantoms, run, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--scale", type=int, default=1, help="divides the widths, for a try on a CPU")
    parser.add_argument("--max_steps", type=int, default=30)
    parser.add_argument("--num_inference_steps", type=int, default=100)
    parser.add_argument("--num_images", type=int, default=2)
    parser.add_argument("--overlays", nargs="+", default=list(OVERLAYS), choices=OVERLAYS)
    args = parser.parse_args()
    results = Results(args.output, args.device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        write_base_model(folder / "base", args.device, args.scale)
        Phantoms().chest_xray(str(folder / "phantoms"), 4, 0, 0, 0)
        results.add("base model of random weights and phantoms written", time.perf_counter() - start, "s")
        common = {"device": args.device, "base_model": str(folder / "base"), "show_progress": False}
        for overlay in args.overlays:
            overlays = [str(ROOT / "configs" / each) for each in OVERLAYS[overlay]]
            output = folder / overlay
            training = common | {
                "config_file": [str(BUNDLE / "train.json"), *overlays],
                "dataset_dir": str(folder / "phantoms"),
                "output_dir": str(output / "training"),
                "cache_dir": str(output / "cache"),
                "concepts": [TOKEN],
                "num_cases": 2,
                "num_validation_cases": 1,
                "max_steps": args.max_steps,
                "validation_interval": 0,
                "preview_interval": 0,
            }
            generating = common | {
                "config_file": [str(BUNDLE / "inference.json"), *overlays],
                "embeddings": str(output / "training" / "embeddings"),
                "output_dir": str(output / "generating"),
                "num_images": args.num_images,
                "num_inference_steps": args.num_inference_steps,
            }
            limit = 4.0 if overlay == "bf16.json" else 8.0 if overlay == "low_memory.json" else None
            for run_id, settings in (("training", training), ("generating", generating)):
                asked = limit if run_id == "training" or overlay == "low_memory.json" else None
                results.attempt(f"{run_id}, {overlay}", partial(run, results, overlay, run_id, asked, settings))


if __name__ == "__main__":
    main()
