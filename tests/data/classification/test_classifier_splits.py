# SPDX-License-Identifier: Apache-2.0
import re
from functools import partial
from typing import Any

import pytest

from medti_components.data.classification.classifier_splits import ClassifierSplits
from medti_components.data.datasets.patient_splits import split_by_patient
from medti_components.data.datasets.split_sizes import SplitSizes
from medti_components.errors import ConfigError, DataError

CLASSES = ["<a_negative>", "<a_positive>"]


def listed(num_patients, num_cases, num_validation_cases, num_test_cases, seed, split) -> list[dict[str, Any]]:
    """Split ``num_patients`` of each class as the data sets' own datalists do."""
    entries = []
    for label, concept in enumerate(CLASSES):
        cases = [{"concept": concept, "patient_id": f"{label}{number}"} for number in range(num_patients)]
        splits = split_by_patient(
            cases, lambda case: case["patient_id"], num_cases, num_validation_cases, num_test_cases, seed
        )
        SplitSizes(num_cases, num_validation_cases, num_test_cases, split).check(concept, "data", splits)
        entries += getattr(splits, split)
    return entries


def splits_of(num_patients=20, num_training=10, split_seed=0):
    return ClassifierSplits(partial(listed, num_patients), CLASSES, num_training, 4, 4, split_seed)


def patients(entries):
    return {entry["patient_id"] for entry in entries}


def test_no_patient_is_in_two_splits() -> None:
    splits = splits_of()
    groups = [patients(splits.drawn(20, 0)), patients(splits.validation()), patients(splits.test())]
    assert [len(group) for group in groups] == [20, 8, 8]
    assert len(set.union(*groups)) == 36


def test_validation_and_test_do_not_depend_on_what_is_drawn() -> None:
    first, second = splits_of(), splits_of()
    assert patients(first.drawn(4, 0)) != patients(second.drawn(4, 1))
    assert (first.validation(), first.test()) == (second.validation(), second.test())


def test_half_of_each_class_is_drawn_and_few_are_the_first_of_many() -> None:
    splits = splits_of()
    few, many = splits.drawn(6, seed=3), splits.drawn(20, seed=3)
    assert [entry["concept"] for entry in few] == [CLASSES[0]] * 3 + [CLASSES[1]] * 3
    assert many[:3] == few[:3]
    assert many[10:13] == few[3:]
    assert splits.drawn(0, seed=3) == []


def test_duplicates_are_the_drawn_cases_in_turn() -> None:
    splits = splits_of()
    few, many = splits.drawn(4, seed=3), splits.drawn(4, seed=3, num_duplicates=6)
    assert many == [few[0], few[1], few[0], few[1], few[0], few[2], few[3], few[2], few[3], few[2]]
    with pytest.raises(ConfigError, match="num_duplicates must be 0 for num_real 0, got 2: leave it out, or set"):
        splits.drawn(0, seed=3, num_duplicates=2)
    with pytest.raises(ConfigError, match="num_duplicates must be an even number, half of each class, got 3"):
        splits.drawn(4, seed=3, num_duplicates=3)


def test_another_split_seed_gives_other_patients() -> None:
    assert patients(splits_of().test()) != patients(splits_of(split_seed=1).test())


@pytest.mark.parametrize("num_real", [3, -2, 2.0, True])
def test_number_of_images_must_be_even(num_real) -> None:
    with pytest.raises(ConfigError, match=re.escape("num_real must be an even number")):
        splits_of().drawn(num_real, 0)


def test_more_cases_than_are_set_aside() -> None:
    message = "num_real asks for 11 cases of each class, num_training_cases sets aside 10: lower --num_real, or raise"
    with pytest.raises(DataError, match="^" + message):
        splits_of().drawn(22, 0)


def test_more_cases_than_there_are() -> None:
    message = "concept '<a_negative>' has 20 cases, num_training_cases asks for 30 and num_validation_cases for 4"
    with pytest.raises(DataError, match="^" + message):
        splits_of(num_training=30).drawn(2, 0)


def test_fewer_training_cases_than_wanted_where_unreadable_ones_were_left_out() -> None:
    def datalist(split, **sizes):
        return [{"concept": concept, "patient_id": f"{split}{concept}"} for concept in CLASSES]

    splits = ClassifierSplits(datalist, CLASSES, 5, 1, 1, split_seed=0)
    with pytest.raises(
        DataError, match="concept '<a_negative>' has 1 training cases, num_real asks for 2: set --num_r"
    ):
        splits.drawn(4, 0)


def test_patient_in_two_splits() -> None:
    def datalist(split, **sizes):
        return [{"concept": concept, "patient_id": "same"} for concept in CLASSES]

    splits = ClassifierSplits(datalist, CLASSES, 1, 1, 1, split_seed=0)
    with pytest.raises(DataError, match="^patient 'same' is in both training and validation: split by patient_id"):
        splits.drawn(2, 0)


@pytest.mark.parametrize("key", ["num_validation_cases", "num_test_cases"])
def test_nothing_to_validate_or_test_on(key) -> None:
    sizes = {"num_training_cases": 1, "num_validation_cases": 1, "num_test_cases": 1, key: 0}
    with pytest.raises(ConfigError, match=f"^{key} must be at least 1, got 0: set --{key}$"):
        ClassifierSplits(listed, CLASSES, split_seed=0, **sizes)
