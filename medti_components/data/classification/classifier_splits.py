# SPDX-License-Identifier: Apache-2.0
"""Who a classifier learns from, is chosen by and is tested on: three groups of real patients that never change."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from medti_components.data.datasets.patch_camelyon import PatchCamelyonCases
from medti_components.data.datasets.picai import PicaiCases
from medti_components.data.datasets.radiograph_cases import READERS, RadiographCases
from medti_components.data.datasets.splits import CaseReader, Entry, Splits, check_patients_apart
from medti_components.errors import ConfigError, DataError
from medti_components.random_streams import random_stream

DATASET_FORMATS = ("picai", *READERS, "pcam")


def check_dataset_format(dataset_format: str) -> None:
    """Check that a data set's format is known.

    Raises:
        ConfigError: it is not.
    """
    if dataset_format not in DATASET_FORMATS:
        raise ConfigError(
            f"dataset_format must be one of {', '.join(DATASET_FORMATS)}, got '{dataset_format}': "
            "correct --dataset_format"
        )


def checked_classes(concepts: Sequence[str]) -> list[str]:
    """Return the two classes.

    Raises:
        ConfigError: there are not two different ones.

    >>> checked_classes(("<a_negative>", "<a_positive>"))
    ['<a_negative>', '<a_positive>']
    """
    tokens = [concepts] if isinstance(concepts, str) else [str(token) for token in concepts]
    if len(set(tokens)) != 2 or len(tokens) != 2:
        raise ConfigError(
            f"concepts must name the negative and the positive class, got {tokens}: "
            "set --concepts \"['<..._negative>','<..._positive>']\""
        )
    return tokens


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


def dataset_reader(
    dataset_format: str, concepts: Sequence[str], views: Sequence[str] = ("AP",), skip_unreadable: bool = False
) -> Callable[..., CaseReader]:
    """Return what reads a data set of a format, for :class:`ClassifierSplits`.

    Args:
        dataset_format: 'picai', 'chexpert', 'nih' or 'pcam'.
        concepts: tokens of the negative and the positive class, in this order.
        views: of radiographs, 'AP', 'PA' or both.
        skip_unreadable: leave out cases without one of their files, and log them.

    Raises:
        ConfigError: the format is unknown, or the concepts are no two classes.

    >>> dataset_reader("dicom", ["<a_negative>", "<a_positive>"])
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: dataset_format must be one of picai, chexpert, nih, pcam, got 'dicom': correct
    --dataset_format
    """
    check_dataset_format(dataset_format)
    tokens = checked_classes(concepts)
    if dataset_format in READERS:
        return partial(
            RadiographCases,
            dataset_format=dataset_format,
            concepts=tokens,
            views=views,
            skip_unreadable=skip_unreadable,
        )
    cases = PicaiCases if dataset_format == "picai" else PatchCamelyonCases
    return partial(cases, concepts=tokens, skip_unreadable=skip_unreadable)


class ClassifierSplits(Splits):
    """Real cases of two classes, split by patient; the splits depend on ``split_seed`` and the three numbers alone.

    Textual inversion with ``--num_cases``, ``--num_validation_cases`` and ``--seed`` as ``num_training_cases``,
    ``num_validation_cases`` and ``split_seed`` here learns its words from the same training cases, and from no others.
    The label of an entry is the place of its concept among the two.

    Args:
        reader: of the data set, as :func:`dataset_reader` returns it.
        dataset_dir: the data set.
        concepts: tokens of the two classes.
        num_training_cases: cases of each class that training draws from.
        num_validation_cases: cases of each class that decide which weights are kept.
        num_test_cases: cases of each class that nothing is learned from; all that are left where None.
        split_seed: decides who is in which split.

    Raises:
        ConfigError: a number does not fit.
    """

    keys = ("num_training_cases", "num_validation_cases", "num_test_cases")

    def __init__(
        self,
        reader: Callable[..., CaseReader],
        dataset_dir: str | Path,
        concepts: Sequence[str],
        num_training_cases: int,
        num_validation_cases: int,
        num_test_cases: int | None,
        split_seed: int,
    ) -> None:
        self.concepts = list(concepts)
        for key, number in (("num_validation_cases", num_validation_cases), ("num_test_cases", num_test_cases)):
            if number == 0:
                raise ConfigError(f"{key} must be at least 1, got 0: set --{key}")
        super().__init__(reader, dataset_dir, num_training_cases, num_validation_cases, split_seed, num_test_cases)

    def _drawn(self, split: str) -> list[Entry]:
        entries = super()._drawn(split)
        return [{**entry, "label": self.concepts.index(entry["concept"])} for entry in entries]

    def drawn(self, num_real: int, seed: int, num_duplicates: int = 0) -> list[Entry]:
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
        if half > self.sizes.training:
            raise DataError(
                f"num_real asks for {half} cases of each class, num_training_cases sets aside "
                f"{self.sizes.training}: lower --num_real, or raise --num_training_cases"
            )
        pool = self.training
        check_patients_apart({"training": pool, "validation": self.validation, "test": self.test})
        entries: list[Entry] = []
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
