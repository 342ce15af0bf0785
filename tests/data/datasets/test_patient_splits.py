# SPDX-License-Identifier: Apache-2.0
import pytest

from medti_components.data.datasets.patient_splits import check_patients_apart, patient_order, split_by_patient
from medti_components.errors import DataError

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
