# SPDX-License-Identifier: Apache-2.0
"""The command ``demo``: phantom studies, two words learned from them, pictures of both."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from medti_components.bundle.shipped import shipped_root
from medti_components.errors import ConfigError, TrainingError
from medti_components.files import ensure_writable_directory, write_text_atomically

WORDS = ("negative", "positive")


def demo(
    output_dir: str = "demo",
    *,
    num_studies: int = 120,
    num_cases: int = 100,
    max_steps: int = 1500,
    num_images: int = 16,
    seed: int = 0,
) -> Iterator[str]:
    """Draw phantom studies, learn two words from them, generate pictures of both: offline, on a CPU, in minutes.

    If it is interrupted, the same command continues where it stopped.

    Args:
        output_dir: folder of studies, words and pictures, 0.9 GB.
        num_studies: phantom studies of each of the two words.
        num_cases: of these, studies that each word is learned from.
        max_steps: training steps.
        num_images: pictures of each word.
        seed: everything random follows from it.
    """
    folder = ensure_writable_directory(output_dir).resolve()
    settings = {"num_studies": num_studies, "num_cases": num_cases, "max_steps": max_steps, "seed": seed}
    settings["num_images"] = num_images
    _ensure_same_settings(folder / "demo.json", settings)
    studies, training = folder / "picai", folder / "training"
    if not (studies / "phantoms.json").is_file():
        numbers = [f"--num_{word}={num_studies}" for word in WORDS]
        _run("phantoms", ["medti_components", "phantoms", "prostate_mri", str(studies), *numbers, f"--seed={seed}"])
    if not all((training / "embeddings" / f"prostate_mri_{word}.safetensors").is_file() for word in WORDS):
        keys = {
            "dataset_dir": studies,
            "output_dir": training,
            "cache_dir": folder / "cache",
            "num_cases": num_cases,
            "num_validation_cases": num_studies - num_cases,
            "max_steps": max_steps,
            "seed": seed,
            "resume": any((training / "checkpoints").glob("*.safetensors")),
        }
        _run("training", _bundle_command("training", "train", keys))
    pictures = {word: folder / f"generated_{word}" / "contact_sheet.png" for word in WORDS}
    for word, picture in pictures.items():
        if picture.is_file():
            continue
        keys = {
            "embeddings": training / "embeddings",
            "output_dir": picture.parent,
            "prompt": f"<prostate_mri_{word}>",
            "num_images": num_images,
            "seed": seed,
        }
        _run(f"generating of {word}", _bundle_command("generating", "inference", keys))
    yield "The pictures, one row per sequence: T2W, ADC, high-b-value DWI:"
    yield from map(str, pictures.values())


def _ensure_same_settings(path: Path, settings: dict[str, int]) -> None:
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != settings:
        raise ConfigError(f"'{path.parent}' holds a demo of other settings: choose another --output_dir")
    write_text_atomically(path, json.dumps(settings, indent=2) + "\n")


def _bundle_command(run_id: str, config: str, keys: dict[str, object]) -> list[str]:
    root = shipped_root()
    bundle = root / "bundles" / "prostate_mri_textual_inversion" / "configs" / f"{config}.json"
    files = f"['{bundle}','{root / 'configs' / 'embedded.json'}']"
    return ["monai.bundle", "run", run_id, "--config_file", files, *(f"--{key}={value}" for key, value in keys.items())]


def _run(step: str, command: list[str]) -> None:
    """Run a module; its progress goes where this command's goes."""
    status = subprocess.run([sys.executable, "-m", *command], stdout=sys.stderr).returncode
    if status:
        raise TrainingError(f"the demo's {step} ended with exit status {status}: mend what it says above, and repeat")
