# SPDX-License-Identifier: Apache-2.0
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from medti_components.data.datasets.patient_splits import patient_order, split_by_patient
from medti_components.data.datasets.picai import PicaiCases
from medti_components.data.datasets.splits import (
    SPLITS,
    Sizes,
    Splits,
    check_patients_apart,
)
from medti_components.data.phantoms.prostate_phantom import write_prostate_studies
from medti_components.errors import ConfigError, DataError

CONCEPTS = ["<prostate_mri_negative>", "<prostate_mri_positive>"]
ALL = (*SPLITS, "classifier_training", "classifier_validation")

SINGLE = [(f"p{number}", 1) for number in range(30)]
WITH_PAIRS = [(f"p{number}", study) for number in range(30) for study in range(1 + (number % 3 == 0))]  # 40 cases


def split(cases, num_training, num_validation, num_test=None, seed=0, **kwargs):
    return split_by_patient(cases, lambda case: case[0], num_training, num_validation, num_test, seed, **kwargs)


def patients(cases):
    return {case[0] for case in cases}


@pytest.mark.parametrize("cases", [SINGLE, WITH_PAIRS])
@pytest.mark.parametrize(("num_training", "num_validation"), [(1, 1), (7, 4), (15, 6), (20, 10)])
def test_no_patient_is_in_two_splits_and_none_twice(cases, num_training, num_validation):
    splits = split(cases, num_training, num_validation)
    assert (len(splits.training), len(splits.validation)) == (num_training, num_validation)
    parts = [patients(splits.training), patients(splits.validation), patients(splits.test)]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    taken = [*splits.training, *splits.validation, *splits.test]
    assert len(set(taken)) == len(taken)


def test_all_cases_can_be_used_although_patients_have_two():
    splits = split(WITH_PAIRS, num_training=30, num_validation=10)
    assert sorted(splits.training + splits.validation) == sorted(WITH_PAIRS)


def test_fewer_training_cases_are_the_first_of_more():
    many = split(WITH_PAIRS, 25, 5)
    for num_training in range(1, 25):
        few = split(WITH_PAIRS, num_training, 5)
        assert few.training == many.training[:num_training]
        assert few.validation == many.validation


def test_test_cases_do_not_depend_on_the_number_of_training_cases():
    assert split(SINGLE, 5, 5, num_test=10).test == split(SINGLE, 15, 5, num_test=10).test


def test_seed_changes_the_order_and_new_patients_do_not():
    ids = [case[0] for case in SINGLE]
    assert patient_order(ids, 0) != patient_order(ids, 1)
    more = patient_order([*ids, "p100", "p101"], 0)
    assert [patient for patient in more if patient in ids] == patient_order(ids, 0)


def test_unusable_cases_are_passed_over_and_asked_about_only_when_they_come_up():
    asked = []

    def is_usable(case):
        asked.append(case)
        return case[0] != patient_order(patients(SINGLE), 0)[0]

    splits = split(SINGLE, 3, 1, num_test=0, is_usable=is_usable)
    order = patient_order(patients(SINGLE), 0)
    assert patients(splits.validation) == {order[1]}
    assert [case[0] for case in splits.training] == order[2:5]
    assert len(asked) == 5


def test_validation_takes_part_of_a_patient_when_none_fits_whole():
    splits = split([("a", 1), ("a", 2)], 1, 1)
    assert (len(splits.validation), len(splits.training), len(splits.test)) == (1, 0, 0)


def test_patient_in_two_splits_is_an_error():
    entry = {"patient_id": "10044"}
    with pytest.raises(
        DataError, match="^patient '10044' is in both train and validation: split by patient_id, not by slice$"
    ):
        check_patients_apart({"train": [entry, entry], "validation": [entry]})


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    write_prostate_studies(folder, num_negative=9, num_positive=9, seed=0, show_progress=False)
    return folder


def splits_of(dataset_dir: str | Path, **others: Any) -> Splits:
    given: dict[str, Any] = {"num_cases": 2, "num_validation_cases": 1, "num_test_cases": 2}
    given |= {"num_classifier_cases": 3, "num_classifier_validation_cases": 1}
    return Splits(partial(PicaiCases, concepts=CONCEPTS), dataset_dir, seed=0, **{**given, **others})


def test_a_split_is_the_same_whatever_was_asked_for_before(studies: Path) -> None:
    first, second = splits_of(studies), splits_of(studies)
    once = {split: getattr(first, split) for split in ALL}
    assert {split: getattr(second, split) for split in reversed(ALL)} == once
    assert {split: len(entries) for split, entries in once.items()} == dict(zip(ALL, (4, 2, 4, 6, 2), strict=True))
    check_patients_apart(once)


def test_other_studies_are_drawn_for_the_classifier_as_for_words(studies: Path) -> None:
    splits = splits_of("not looked at", classifier_dataset_dir=studies)
    words = splits_of(studies, num_cases=3)
    assert (splits.classifier_training, splits.classifier_validation) == (words.training, words.validation)


def test_too_few_left_names_both_ways_out(studies: Path) -> None:
    message = (
        "concept '<prostate_mri_negative>' has 4 cases left for the classifier, 5 are asked for: "
        "lower --num_classifier_cases, or give other studies by --classifier_dataset_dir"
    )
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        splits_of(studies, num_classifier_cases=4).classifier_training  # noqa: B018


@pytest.mark.parametrize(
    ("others", "kind", "message"),
    [
        (
            {"num_classifier_cases": 90},
            DataError,
            "num_classifier_cases asks for 90 and num_classifier_validation_cases for 1: lower --num_classifier_cases",
        ),
        (
            {"num_classifier_cases": -1},
            ConfigError,
            "num_classifier_cases must be a whole number of at least 0, got -1: ",
        ),
        (
            {"classifier_dataset_dir": "no"},
            DataError,
            "classifier_dataset_dir 'no' does not exist: set --classifier_dat",
        ),
    ],
)
def test_errors_name_the_classifier_s_keys(studies: Path, others: dict[str, Any], kind: type, message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        splits_of(studies, **{"classifier_dataset_dir": studies, **others}).classifier_training  # noqa: B018


@pytest.mark.parametrize("number", [-1, 1.5, True])
def test_sizes_that_do_not_fit(number: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^num_cases must be a whole number of at least 0, got {number}: correct"):
        Sizes(number, 1)
