# SPDX-License-Identifier: Apache-2.0
"""The studies that an evaluation's classifier learns from: none that the words learned from or are measured against."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medti_components.data.patient_splits import split_by_patient
from medti_components.data.picai import picai_datalist
from medti_components.data.split_sizes import SPLITS
from medti_components.errors import ConfigError, DataError, MedtiError

CLASSIFIER_KEYS = {
    "dataset_dir": "classifier_dataset_dir",
    "num_cases": "num_classifier_cases",
    "num_validation_cases": "num_classifier_validation_cases",
}


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
) -> list[dict[str, Any]]:
    """List the studies of the classifier's own training or validation split, as :func:`picai_datalist` does.

    Args:
        dataset_dir: the studies that the words were learned from.
        classifier_dataset_dir: other studies; None takes what training, validation and test leave of ``dataset_dir``.
        concepts: tokens that end in ``negative>`` or ``positive>``.
        num_cases: training studies of each concept, as the words' training had them.
        num_validation_cases: its validation studies of each concept.
        num_test_cases: held-out studies of each concept that generated images are measured against.
        num_classifier_cases: studies of each concept that the classifier learns from.
        num_classifier_validation_cases: studies of each concept that it is tried on.
        seed: decides who is in which split.
        split: 'training' or 'validation', the classifier's.
        skip_unreadable: leave out studies without one of their files, and log them.

    Raises:
        ConfigError: a key does not fit.
        DataError: the data set or a file of a study is missing, or there are fewer cases than asked for.
    """
    if split not in SPLITS[:2]:
        raise ConfigError(f"split must be 'training' or 'validation', got '{split}': correct the datalist's split")
    shared: dict[str, Any] = {"concepts": concepts, "seed": seed, "skip_unreadable": skip_unreadable}
    if classifier_dataset_dir is None:
        held_out = {**shared, "dataset_dir": dataset_dir, "num_cases": num_cases, "split": "test"}
        held_out["num_validation_cases"] = num_validation_cases
        return _left_over(held_out, num_test_cases, num_classifier_cases, num_classifier_validation_cases, split)
    try:
        return picai_datalist(
            dataset_dir=classifier_dataset_dir,
            num_cases=num_classifier_cases,
            num_validation_cases=num_classifier_validation_cases,
            split=split,
            **shared,
        )
    except MedtiError as error:
        names = "|".join(CLASSIFIER_KEYS)
        message = re.sub(rf"\b({names})\b", lambda found: CLASSIFIER_KEYS[found[1]], str(error))
        raise type(error)(message) from error


def _left_over(
    held_out: dict[str, Any], num_test_cases: int, num_training: int, num_validation: int, split: str
) -> list[dict[str, Any]]:
    """Split those studies that the test split does not need."""
    tested = {entry["patient_id"] for entry in picai_datalist(**held_out, num_test_cases=num_test_cases)}
    left = [entry for entry in picai_datalist(**held_out) if entry["patient_id"] not in tested]
    entries = []
    for concept in held_out["concepts"]:
        own = [entry for entry in left if entry["concept"] == concept]
        splits = split_by_patient(
            own, lambda entry: str(entry["patient_id"]), num_training, num_validation, 0, held_out["seed"]
        )
        if len(splits.training) < num_training or len(splits.validation) < num_validation:
            raise DataError(
                f"concept '{concept}' has {len(own)} cases left for the classifier, {num_training + num_validation} "
                "are asked for: lower --num_classifier_cases, or give other studies by --classifier_dataset_dir"
            )
        entries += getattr(splits, split)
    return entries
