# SPDX-License-Identifier: Apache-2.0
"""The command ``demo``: phantom studies, two words learned from them, pictures of both."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medti_components.apps.reproduction.bundle_configs import BundleConfigs
from medti_components.apps.reproduction.step_chain import Step, StepChain
from medti_components.bundle.shipped import shipped_root
from medti_components.errors import TrainingError
from medti_components.files import ensure_writable_directory

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
    root = shipped_root()
    first = root / "bundles" / "prostate_mri_textual_inversion" / "configs" / "train.json"
    bundle = BundleConfigs(first, (root / "configs" / "embedded.json",))
    numbers = [text for word in WORDS for text in (f"--num_{word}", str(num_studies))]
    drawing = [
        sys.executable,
        "-m",
        "medti_components",
        "phantoms",
        "prostate_mri",
        "--output_dir",
        str(folder / "picai"),
    ]
    training = {
        "dataset_dir": folder / "picai",
        "output_dir": folder / "training",
        "cache_dir": folder / "cache",
        "num_cases": num_cases,
        "num_validation_cases": num_studies - num_cases,
        "max_steps": max_steps,
        "seed": seed,
    }
    steps = [
        Step("phantoms", [*drawing, *numbers, "--seed", str(seed)]),
        bundle.step("training", "training", "train", training, ["phantoms"]),
    ]
    for word in WORDS:
        keys: dict[str, Any] = {
            "embeddings": folder / "training" / "embeddings",
            "output_dir": folder / f"generated_{word}",
        }
        keys |= {"prompt": f"<prostate_mri_{word}>", "num_images": num_images, "seed": seed}
        steps.append(bundle.step(f"generated_{word}", "generating", "inference", keys, ["training"]))
    chain = StepChain(steps, folder)
    yield from chain.run()
    if chain.failed:
        name, reason = next(iter(chain.failed.items()))
        raise TrainingError(f"the demo's step {name} failed: {reason}")
    yield "The pictures, one row per sequence: T2W, ADC, high-b-value DWI:"
    for word in WORDS:
        yield str(Path(folder, f"generated_{word}", "contact_sheet.png"))
