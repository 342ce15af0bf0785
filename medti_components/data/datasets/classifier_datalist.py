# SPDX-License-Identifier: Apache-2.0
"""The cases that an evaluation's classifier learns from: none that the words learned from or are measured against."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medti_components.data.datasets.patient_splits import split_by_patient
from medti_components.data.datasets.picai import picai_datalist
from medti_components.data.datasets.split_sizes import SPLITS
from medti_components.errors import ConfigError, DataError, MedtiError

CLASSIFIER_KEYS = {
    "dataset_dir": "classifier_dataset_dir",
    "num_cases": "num_classifier_cases",
    "num_validation_cases": "num_classifier_validation_cases",
}


@contextmanager
def renamed_keys(keys: Mapping[str, str]) -> Iterator[None]:
    """Let the errors of what is done within name the config's own keys in place of the functions' arguments.

    >>> with renamed_keys({"num_cases": "num_classifier_cases"}):
    ...     raise ConfigError("num_cases must be a whole number: correct --num_cases")
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: num_classifier_cases must be a whole number: correct --num_classifier_cases
    """
    try:
        yield
    except MedtiError as error:
        message = re.sub(rf"\b({'|'.join(keys)})\b", lambda found: keys[found[1]], str(error))
        raise type(error)(message) from error


def classifier_datalist(
    dataset_dir: str | Path,
    classifier_dataset_dir: str | Path | None,
    concepts: Sequence[str],
    num_cases: int,
    num_validation_cases: int,
    num_test_cases: int,
    num_classifier_cases: int,
    num_classifier_validation_cases: int,
    seed: int,
    split: str,
    skip_unreadable: bool = False,
    datalist: Callable[..., list[dict[str, Any]]] = picai_datalist,
    keys: Mapping[str, str] = CLASSIFIER_KEYS,
) -> list[dict[str, Any]]:
    """List the cases of the classifier's own training or validation split, as ``datalist`` does.

    Args:
        dataset_dir: the studies that the words were learned from.
        classifier_dataset_dir: other studies; None takes what training, validation and test leave of ``dataset_dir``.
        concepts: tokens that ``datalist`` knows.
        num_cases: training cases of each concept, as the words' training had them.
        num_validation_cases: its validation cases of each concept.
        num_test_cases: held-out cases of each concept that generated images are measured against.
        num_classifier_cases: cases of each concept that the classifier learns from.
        num_classifier_validation_cases: cases of each concept that it is tried on.
        seed: decides who is in which split.
        split: 'training' or 'validation', the classifier's.
        skip_unreadable: leave out cases without one of their files, and log them.
        datalist: reads a data set; takes ``dataset_dir``, ``concepts``, the three numbers of cases, ``seed``, ``split``
            and ``skip_unreadable``, as :func:`picai_datalist` does.
        keys: the config keys that the classifier's ``dataset_dir``, ``num_cases`` and ``num_validation_cases`` came
            from, for the messages.

    Raises:
        ConfigError: a key does not fit.
        DataError: the data set or a file of a case is missing, or there are fewer cases than asked for.
    """
    if split not in SPLITS[:2]:
        raise ConfigError(f"split must be 'training' or 'validation', got '{split}': correct the datalist's split")
    shared: dict[str, Any] = {"concepts": concepts, "seed": seed, "skip_unreadable": skip_unreadable}
    if classifier_dataset_dir is None:
        held_out = {**shared, "dataset_dir": dataset_dir, "num_cases": num_cases, "split": "test"}
        held_out["num_validation_cases"] = num_validation_cases
        tested = {entry["patient_id"] for entry in datalist(**held_out, num_test_cases=num_test_cases)}
        left: dict[str, list[dict[str, Any]]] = {}
        for entry in datalist(**held_out):
            own = left.setdefault(entry["concept"], [])
            own += [entry] if entry["patient_id"] not in tested else []
        return _split_left(left, num_classifier_cases, num_classifier_validation_cases, seed, split, keys["num_cases"])
    with renamed_keys(keys):
        return datalist(
            dataset_dir=classifier_dataset_dir,
            num_cases=num_classifier_cases,
            num_validation_cases=num_classifier_validation_cases,
            split=split,
            **shared,
        )


def _split_left(
    left: Mapping[str, Sequence[dict[str, Any]]],
    num_training: int,
    num_validation: int,
    seed: int,
    split: str,
    key: str,
) -> list[dict[str, Any]]:
    """Split those cases of each concept that the test split does not need."""
    entries = []
    for concept, own in left.items():
        splits = split_by_patient(own, lambda entry: str(entry["patient_id"]), num_training, num_validation, 0, seed)
        if len(splits.training) < num_training or len(splits.validation) < num_validation:
            raise DataError(
                f"concept '{concept}' has {len(own)} cases left for the classifier, {num_training + num_validation} "
                f"are asked for: lower --{key}, or give other studies by --classifier_dataset_dir"
            )
        entries += getattr(splits, split)
    return entries
