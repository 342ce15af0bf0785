# SPDX-License-Identifier: Apache-2.0
"""The embedded base model on a GPU beside the CPU: predictions, training by the bundle's config, pictures.

python benchmarks/gpu/right.py --output right.json --device cuda
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import monai.bundle
import torch
from results import Results
from safetensors.torch import load_file

from medti_components.apps.phantoms import Phantoms
from medti_components.inferers.latent_sampler import SCHEDULERS, LatentSampler
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "bundles/tiny_latent_diffusion/models"
BUNDLE = ROOT / "bundles/chest_xray_textual_inversion/configs"
TOKEN = "<chest_xray_no_finding>"
# largest relative difference of a prediction; PyTorch lets convolutions in float32 use a GPU's TensorFloat-32
PRECISIONS = {"float32": 2e-3, "bfloat16": 0.05, "float16": 0.01}


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the norm of the difference over the norm of what is expected."""
    found, expected = found.detach().float().cpu(), expected.detach().float().cpu()
    return float((found - expected).norm() / expected.norm())


def compare_networks(results: Results, device: str) -> None:
    """Predictions, encoding, decoding and text conditions in each precision against float32 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    reference = FrozenLatentDiffusion.from_pretrained(str(BASE), device="cpu")
    noisy = torch.randn(4, *reference.latent_shape, generator=generator)
    rows = torch.randn(8, reference.width, generator=generator) * reference.vocabulary_rows().std()
    images = torch.rand(4, 3, reference.image_size, reference.image_size, generator=generator) * 2 - 1
    times = torch.tensor([10, 300, 600, 990])
    with torch.no_grad():
        condition = reference.condition_from_rows(rows)
        expected = {
            "text condition": condition,
            "prediction": reference.predict(noisy, times, condition),
            "encoding": reference.encode(images)[0],
            "decoding": reference.decode(reference.encode(images)[0]),
        }
        for dtype, limit in PRECISIONS.items():
            model = FrozenLatentDiffusion.from_pretrained(str(BASE), dtype=dtype, device=device)
            latents = expected["encoding"].to(device, model.dtype)
            own = condition.to(device, model.dtype)
            found = {
                "text condition": model.condition_from_rows(rows.to(device)),
                "prediction": model.predict(noisy.to(device, model.dtype), times.to(device), own),
                "encoding": model.encode(images.to(device))[0],
                "decoding": model.decode(latents),
            }
            for name, value in found.items():
                results.add(f"{name}, {dtype}, relative difference", relative(value, expected[name]), "", limit)


def train(dataset_dir: Path, output_dir: Path, device: str, **settings: object) -> torch.Tensor:
    """Train a word by the bundle's own config for 20 steps; return its rows."""
    overlays = [str(BUNDLE / "train.json"), str(ROOT / "configs/embedded.json")]
    monai.bundle.run(
        "training",
        config_file=overlays,
        dataset_dir=str(dataset_dir),
        output_dir=str(output_dir),
        cache_dir=str(output_dir / "cache"),
        device=device,
        concepts=[TOKEN],
        num_cases=8,
        num_validation_cases=4,
        max_steps=20,
        batch_size=4,
        validation_interval=0,
        preview_interval=0,
        show_progress=False,
        **settings,
    )
    (path,) = (output_dir / "embeddings").glob("*.safetensors")
    (rows,) = load_file(path).values()
    return rows


def compare_training(results: Results, device: str, folder: Path) -> None:
    """Rows after 20 steps against those of the CPU in float32."""
    Phantoms().chest_xray(str(folder / "phantoms"), 14, 0, 0, 0)
    data = folder / "phantoms"
    expected = train(data, folder / "cpu", "cpu")
    variants: dict[str, tuple[float, dict[str, object]]] = {
        "float32": (0.01, {}),
        "float32, gradient checkpointing, attention slicing": (
            0.01,
            {"gradient_checkpointing": True, "attention_slicing": True},
        ),
        "bfloat16": (0.5, {"dtype": "bfloat16"}),
        "float16 with loss scaling": (0.1, {"dtype": "float16"}),
    }
    for name, (limit, settings) in variants.items():

        def check(name: str = name, limit: float = limit, settings: dict[str, object] = settings) -> None:
            rows = train(data, folder / name.replace(" ", "_").replace(",", ""), device, **settings)
            results.add(f"rows after 20 steps, {name}, relative difference", relative(rows, expected), "", limit)

        results.attempt(f"training in {name}", check)


def compare_pictures(results: Results, device: str, num_steps: int) -> None:
    """One picture by every scheduler, the same seed on both devices; mean difference in grey values of 255."""
    cpu, other = (FrozenLatentDiffusion.from_pretrained(str(BASE), device=name) for name in ("cpu", device))
    for scheduler in SCHEDULERS:

        def check(scheduler: str = scheduler) -> None:
            sampler = LatentSampler(scheduler=scheduler, num_inference_steps=num_steps, guidance_scale=3.0)
            pictures = []
            for model in (cpu, other):
                prompts = ("huge red disc at the middle centre on plain black ground", "")
                condition, empty = (model.condition_from_prompt(prompt, {}) for prompt in prompts)
                with torch.no_grad():
                    pictures.append(model.decode(sampler(model, condition, empty, [0])).float().cpu().clamp(-1, 1))
            difference = float((pictures[0] - pictures[1]).abs().mean()) * 127.5
            results.add(f"picture by {scheduler}", difference, "grey values", 2.0)

        results.attempt(f"picture by {scheduler}", check)


def measure_matrix_rate(results: Results, size: int = 8192, repeats: int = 20) -> None:
    """The rate of a bfloat16 matrix product, median of several, on random data."""
    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    rates = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        left @ right
        end.record()
        end.synchronize()
        rates.append(2 * size**3 / start.elapsed_time(end) / 1e9)
    results.add(f"matrix product {size} x {size} x {size}, bfloat16", statistics.median(rates), "TFLOP/s")


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--num_steps", type=int, default=10)
    args = parser.parse_args()
    results = Results(args.output, args.device)
    if torch.device(args.device).type == "cuda":
        results.attempt("matrix product", lambda: measure_matrix_rate(results))
    with tempfile.TemporaryDirectory() as folder:
        results.attempt("networks", lambda: compare_networks(results, args.device))
        results.attempt("training", lambda: compare_training(results, args.device, Path(folder)))
        results.attempt("pictures", lambda: compare_pictures(results, args.device, args.num_steps))


if __name__ == "__main__":
    main()
