# SPDX-License-Identifier: Apache-2.0
"""How often the 95 % interval of the kernel distance holds 0 where both sets are of the same distribution.

Each trial draws two sets at random and without an image in both: procedural scenes by the embedded features, and
normal numbers in as many dimensions. Whatever the number of images, 95 % of the intervals should hold 0.

    python benchmarks/kid_coverage.py --num_trials 200 --num_images 100
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from result_table import show_table
from torch import Tensor

from medti_components.base_model.scene_dataset import SceneWords
from medti_components.evaluation.image_features import ImageFeatures
from medti_components.metrics.kernel_inception_distance import KernelInceptionDistance
from medti_components.networks.feature_network import feature_network
from medti_components.random_streams import random_stream

FIELDS = ("features", "n", "trials", "intervals that hold 0", "mean KID", "mean half width")

Draw = Callable[[torch.Generator], tuple[Tensor, Tensor]]


def scene_features(num_scenes: int, seed: int, show_progress: bool = True) -> Tensor:
    """Return the embedded features (num_scenes, 480) of scenes that no training takes."""
    scenes = SceneWords(num_scenes, seed=seed, is_held_out=True, show_progress=show_progress)
    images = torch.stack([scenes[index]["image"] for index in range(len(scenes))])
    return ImageFeatures(feature_network("embedded"), show_progress=show_progress)(images)


def halves(pool: Tensor, num_images: int) -> Draw:
    """Return a draw of two sets of ``num_images`` different rows of ``pool``."""

    def draw(stream: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.randperm(len(pool), generator=stream)
        return pool[chosen[:num_images]], pool[chosen[num_images : 2 * num_images]]

    return draw


def normal(num_images: int, width: int) -> Draw:
    """Return a draw of two sets of ``num_images`` rows of ``width`` normal numbers."""

    def draw(stream: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.randn(num_images, width, generator=stream), torch.randn(num_images, width, generator=stream)

    return draw


def coverage(draw: Draw, num_trials: int, seed: int, name: str) -> tuple[float, float, float]:
    """Return the share of intervals that hold 0, the mean distance and the mean half width."""
    distance = KernelInceptionDistance()
    estimates = [distance(*draw(random_stream(seed, "coverage", name, trial))) for trial in range(num_trials)]
    held = sum(each.low <= 0 <= each.high for each in estimates) / num_trials
    value = sum(each.value for each in estimates) / num_trials
    return held, value, sum(each.high - each.low for each in estimates) / (2 * num_trials)


def main(arguments: list[str]) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_trials", type=int, default=200)
    parser.add_argument("--num_images", type=int, nargs="+", default=[25, 50, 100])
    parser.add_argument("--num_scenes", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=None, help="CSV file to write the table to")
    given = parser.parse_args(arguments)
    pool = scene_features(given.num_scenes, given.seed)
    rows = []
    for count in given.num_images:
        draws = {"embedded, scenes": halves(pool, count), "normal numbers": normal(count, pool.shape[1])}
        for name, draw in draws.items():
            held, value, width = coverage(draw, given.num_trials, given.seed, f"{name} {count}")
            rows.append((name, str(count), str(given.num_trials), f"{held:.1%}", f"{value:.4f}", f"{width:.4f}"))
    show_table(FIELDS, rows, given.output)


if __name__ == "__main__":
    main(sys.argv[1:])
