# SPDX-License-Identifier: Apache-2.0
"""Whether a datalist's numbers can be met: its arguments before, its splits after the cases were drawn."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medti_components.data.datasets.patient_splits import PatientSplits
from medti_components.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

SPLITS = ("training", "validation", "test")


@dataclass(frozen=True)
class SplitSizes:
    """Cases of each concept that a datalist is asked for.

    Args:
        num_cases: training cases.
        num_validation_cases: validation cases.
        num_test_cases: test cases; all that are left where None.
        split: the one that is listed: 'training', 'validation' or 'test'.

    Raises:
        ConfigError: a number is negative or not whole, or the split is none of the three.

    >>> SplitSizes(100, 20, None, "train")
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: split must be 'training', 'validation' or 'test', got 'train': correct the
    datalist's split
    """

    num_cases: int
    num_validation_cases: int
    num_test_cases: int | None
    split: str

    def __post_init__(self) -> None:
        for key, value in (("num_cases", self.num_cases), ("num_validation_cases", self.num_validation_cases)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigError(f"{key} must be a whole number of at least 0, got {value!r}: correct --{key}")
        if self.split not in SPLITS:
            raise ConfigError(
                f"split must be 'training', 'validation' or 'test', got '{self.split}': correct the datalist's split"
            )

    def check(
        self,
        concept: str,
        dataset_dir: str | Path,
        splits: PatientSplits[Any],
        num_skipped: int = 0,
        notes: Sequence[str] = (),
    ) -> None:
        """Raise DataError where a split is too small; only log it where that is since cases were skipped.

        Args:
            concept: token of the cases.
            dataset_dir: where they were looked for.
            splits: what was drawn.
            num_skipped: cases left out since their files are missing or unreadable, as the user asked.
            notes: what else was left out, for the message.
        """
        if self.split == "test":
            num_left, asked = len(splits.test), 1 if self.num_test_cases is None else self.num_test_cases
            if num_left < asked:
                if not (splits.training or splits.validation or splits.test):
                    raise DataError(_no_cases(concept, dataset_dir))
                others = self.num_cases or self.num_validation_cases
                raise DataError(
                    f"concept '{concept}' has {num_left} cases left for test, {asked} are asked for: lower "
                    + ("--num_cases or --num_validation_cases" if others else "--num_test_cases")
                )
            return
        num_found, num_asked = len(splits.training) + len(splits.validation), self.num_cases + self.num_validation_cases
        if num_found >= num_asked:
            return
        skipped = [f"{num_skipped} without or with unreadable files"] if num_skipped else []
        reasons = ", ".join([*skipped, *notes])
        left_out = f" (left out: {reasons})" if reasons else ""
        if num_found == 0:
            raise DataError(_no_cases(concept, dataset_dir, left_out))
        asks, remedy = f"num_cases asks for {self.num_cases}", "lower --num_cases"
        if self.num_validation_cases:
            asks += f" and num_validation_cases for {self.num_validation_cases}"
            remedy += " or --num_validation_cases"
        message = f"concept '{concept}' has {num_found} cases{left_out}, {asks}"
        if num_found + num_skipped < num_asked or (self.num_cases and not splits.training):
            raise DataError(f"{message}: {remedy}")
        logger.warning("%s", message)


def _no_cases(concept: str, dataset_dir: str | Path, left_out: str = "") -> str:
    remedy = "add studies, or drop the concept from --concepts"
    return f"concept '{concept}' has no cases in '{dataset_dir}'{left_out}: {remedy}"
