# SPDX-License-Identifier: Apache-2.0
"""The rows of table 4 of "Medical diffusion on a budget" (MIDL 2024), and four controls."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medti_components.errors import ConfigError

REAL_ONLY, DUPLICATED, SYNTHETIC_ONLY = "real", "real_duplicated", "synthetic_many"


@dataclass(frozen=True)
class Table4Row:
    """What a classifier of the row learns from.

    Args:
        name: of its folder.
        num_real: real images.
        num_synthetic: synthetic images.
        has_few_words: whether these are of words learned from few cases.
        keys: further keys of the classifier's training.
        initial_row: the row whose classifier of the same seed training goes on from.
        note: what sets a control apart.
        paper: mean and standard deviation of the AUC over ten trainings in the paper; None for a control.
    """

    name: str
    num_real: int
    num_synthetic: int
    has_few_words: bool = False
    keys: Mapping[str, Any] = field(default_factory=dict)
    initial_row: str | None = None
    note: str = ""
    paper: tuple[float, float] | None = None


def table4_rows(num_real: int, num_synthetic: int) -> list[Table4Row]:
    """Return the seven rows in the paper's order (200 real and 2,000 synthetic images there), then the controls.

    Raises:
        ConfigError: a number is not even, or there are not more synthetic images than real ones.

    >>> [row.name for row in table4_rows(200, 2000)][:3]
    ['real', 'synthetic_equal', 'synthetic_many']
    """
    for key, number in (("num_real", num_real), ("num_synthetic", num_synthetic)):
        if number < 2 or number % 2:
            raise ConfigError(f"{key} must be an even number from 2, half of each class, got {number}: correct --{key}")
    if num_synthetic <= num_real:
        raise ConfigError(f"num_synthetic must be larger than num_real, {num_real}, got {num_synthetic}: raise it")
    return [
        Table4Row(REAL_ONLY, num_real, 0, paper=(0.780, 0.017)),
        Table4Row("synthetic_equal", 0, num_real, paper=(0.737, 0.019)),
        Table4Row(SYNTHETIC_ONLY, 0, num_synthetic, paper=(0.766, 0.020)),
        Table4Row("real_synthetic_equal", num_real, num_real, paper=(0.773, 0.015)),
        Table4Row("real_synthetic_many", num_real, num_synthetic, paper=(0.803, 0.009)),
        Table4Row("few_synthetic_many", 0, num_synthetic, has_few_words=True, paper=(0.562, 0.036)),
        Table4Row("real_few_synthetic_many", num_real, num_synthetic, has_few_words=True, paper=(0.745, 0.012)),
        Table4Row(
            DUPLICATED, num_real, 0, keys={"num_duplicates": num_synthetic}, note=f"{num_synthetic} duplicates of real"
        ),
        Table4Row("real_augmented", num_real, 0, keys={"augmentation_level": "heavy"}, note="strong augmentation"),
        Table4Row(
            "pretrained", num_real, 0, initial_row=SYNTHETIC_ONLY, note=f"pre-trained on {num_synthetic} synthetic"
        ),
        Table4Row("real_few_synthetic_equal", num_real, num_real, has_few_words=True, note="words of few cases"),
    ]
