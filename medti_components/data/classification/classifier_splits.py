# SPDX-License-Identifier: Apache-2.0
"""Who a classifier learns from, is chosen by and is tested on: three groups of real patients that never change."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from medti_components.data.datasets.classifier_datalist import renamed_keys
from medti_components.data.datasets.patient_splits import check_patients_apart
from medti_components.errors import ConfigError, DataError
from medti_components.random_streams import random_stream

Datalist = list[dict[str, Any]]


def checked_half(key: str, number: int) -> int:
    """Return half of a number of images, half of each class.

    Raises:
        ConfigError: it is negative or odd.

    >>> checked_half("num_real", 200)
    100
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < 0 or number % 2:
        raise ConfigError(f"{key} must be an even number, half of each class, got {number!r}: correct --{key}")
    return number // 2


class ClassifierSplits:
    """Real cases of two classes, split by patient; the splits depend on ``split_seed`` and the three numbers alone.

    Textual inversion with ``--num_cases``, ``--num_validation_cases`` and ``--seed`` as ``num_training_cases``,
    ``num_validation_cases`` and ``split_seed`` here learns its words from the same training cases, and from no others.

    Args:
        datalist: lists a split; takes ``num_cases``, ``num_validation_cases``, ``num_test_cases``, ``seed``, ``split``.
        concepts: tokens of the two classes.
        num_training_cases: cases of each class that training draws from.
        num_validation_cases: cases of each class that decide which weights are kept.
        num_test_cases: cases of each class that nothing is learned from; all that are left where None.
        split_seed: decides who is in which split.

    Example:
        >>> def datalist(num_cases, num_validation_cases, num_test_cases, seed, split):
        ...     count = {"training": num_cases, "validation": num_validation_cases, "test": num_test_cases}[split]
        ...     return [{"concept": c, "patient_id": f"{split}{c}{i}"} for c in ("<a>", "<b>") for i in range(count)]
        >>> splits = ClassifierSplits(datalist, ["<a>", "<b>"], 3, 1, 2, split_seed=0)
        >>> len(splits.drawn(4, seed=0)), len(splits.validation()), len(splits.test())
        (4, 2, 4)
    """

    def __init__(
        self,
        datalist: Callable[..., Datalist],
        concepts: Sequence[str],
        num_training_cases: int,
        num_validation_cases: int,
        num_test_cases: int | None,
        split_seed: int,
    ) -> None:
        self.datalist = datalist
        self.concepts = list(concepts)
        self.sizes: dict[str, Any] = {
            "num_cases": num_training_cases,
            "num_validation_cases": num_validation_cases,
            "num_test_cases": num_test_cases,
        }
        for key, number in (("num_validation_cases", num_validation_cases), ("num_test_cases", num_test_cases)):
            if number == 0:
                raise ConfigError(f"{key} must be at least 1, got 0: set --{key}")
        self.split_seed = split_seed
        self._lists: dict[str, Datalist] = {}

    def drawn(self, num_real: int, seed: int, num_duplicates: int = 0) -> Datalist:
        """Return ``num_real`` training cases, half of each class; the first of many are those of few.

        ``num_duplicates`` more entries, half of each class, are the same cases again, in turn.

        Raises:
            ConfigError: a number is not even, or there are duplicates of nothing.
            DataError: there are fewer, or a patient is in two splits.
        """
        half, half_again = checked_half("num_real", num_real), checked_half("num_duplicates", num_duplicates)
        if half == 0:
            if half_again:
                raise ConfigError(
                    f"num_duplicates must be 0 for num_real 0, got {num_duplicates}: leave it out, or set --num_real"
                )
            return []
        if half > self.sizes["num_cases"]:
            raise DataError(
                f"num_real asks for {half} cases of each class, num_training_cases sets aside "
                f"{self.sizes['num_cases']}: lower --num_real, or raise --num_training_cases"
            )
        pool = self._listed("training")
        check_patients_apart({"training": pool, "validation": self.validation(), "test": self.test()})
        entries: Datalist = []
        for concept in self.concepts:
            own = [entry for entry in pool if entry["concept"] == concept]
            if len(own) < half:
                raise DataError(
                    f"concept '{concept}' has {len(own)} training cases, num_real asks for {half}: "
                    f"set --num_real {2 * len(own)} or less"
                )
            order = torch.randperm(len(own), generator=random_stream(seed, "real cases", concept)).tolist()
            entries += [own[order[place % half]] for place in range(half + half_again)]
        return entries

    def validation(self) -> Datalist:
        """Return the validation cases of both classes."""
        return self._listed("validation")

    def test(self) -> Datalist:
        """Return the test cases of both classes."""
        return self._listed("test")

    def _listed(self, split: str) -> Datalist:
        if split not in self._lists:
            with renamed_keys({"num_cases": "num_training_cases"}):
                self._lists[split] = self.datalist(**self.sizes, seed=self.split_seed, split=split)
        return self._lists[split]
