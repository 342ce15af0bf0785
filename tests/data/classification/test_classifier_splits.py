# SPDX-License-Identifier: Apache-2.0
import re
from types import SimpleNamespace

import pytest

from medti_components.data.classification.classifier_splits import ClassifierSplits, dataset_reader
from medti_components.data.datasets.splits import CaseGroup, PatientCases
from medti_components.errors import ConfigError, DataError

CLASSES = ["<a_negative>", "<a_positive>"]


class Group(CaseGroup):
    """``num_patients`` of one class with a case each."""

    cases = ()

    def __init__(self, label: int, num_patients: int) -> None:
        super().__init__(CLASSES[label])
        self.cases = [SimpleNamespace(patient_id=f"{label}{number}") for number in range(num_patients)]

    def read_entry(self, case):
        return {"concept": self.concept, "patient_id": case.patient_id, "label": 7}


class Patients(PatientCases):
    """A data set of as many patients of each class."""

    groups = ()

    def __init__(self, num_patients: int) -> None:
        super().__init__("data")
        self.groups = [Group(label, num_patients) for label in range(2)]


class Given:
    """A data set whose splits are as they are given."""

    def __init__(self, patient: str) -> None:
        self.patient = patient

    def drawn(self, split, sizes, seed):
        return [{"concept": concept, "patient_id": self.patient.format(split + concept)} for concept in CLASSES]


def splits_of(num_patients=20, num_training=10, split_seed=0, cases=None, others=4):
    cases = Patients(num_patients) if cases is None else cases
    return ClassifierSplits(lambda dataset_dir: cases, "data", CLASSES, num_training, others, others, split_seed)


def patients(entries):
    return {entry["patient_id"] for entry in entries}


def test_no_patient_is_in_two_splits() -> None:
    splits = splits_of()
    groups = [patients(splits.drawn(20, 0)), patients(splits.validation), patients(splits.test)]
    assert [len(group) for group in groups] == [20, 8, 8]
    assert len(set.union(*groups)) == 36


def test_validation_and_test_do_not_depend_on_what_is_drawn() -> None:
    first, second = splits_of(), splits_of()
    assert patients(first.drawn(4, 0)) != patients(second.drawn(4, 1))
    assert (first.validation, first.test) == (second.validation, second.test)


def test_labels_are_the_places_of_the_classes() -> None:
    assert {(entry["concept"], entry["label"]) for entry in splits_of().test} == {(CLASSES[0], 0), (CLASSES[1], 1)}


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
    assert patients(splits_of().test) != patients(splits_of(split_seed=1).test)


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
    splits = splits_of(num_training=5, cases=Given("{}"), others=1)
    with pytest.raises(
        DataError, match="concept '<a_negative>' has 1 training cases, num_real asks for 2: set --num_r"
    ):
        splits.drawn(4, 0)


def test_patient_in_two_splits() -> None:
    splits = splits_of(num_training=1, cases=Given("same"), others=1)
    with pytest.raises(DataError, match="^patient 'same' is in both training and validation: split by patient_id"):
        splits.drawn(2, 0)


@pytest.mark.parametrize("key", ["num_validation_cases", "num_test_cases"])
def test_nothing_to_validate_or_test_on(key) -> None:
    sizes = {"num_training_cases": 1, "num_validation_cases": 1, "num_test_cases": 1, key: 0}
    with pytest.raises(ConfigError, match=f"^{key} must be at least 1, got 0: set --{key}$"):
        ClassifierSplits(lambda dataset_dir: Given("{}"), "data", CLASSES, split_seed=0, **sizes)


@pytest.mark.parametrize(
    ("dataset_format", "concepts", "message"),
    [
        ("dicom", CLASSES, "dataset_format must be one of picai, chexpert, nih, pcam, got 'dicom': correct --dataset_"),
        ("picai", CLASSES[:1], "concepts must name the negative and the positive class, got ['<a_negative>']: set --c"),
        ("picai", CLASSES[:1] * 2, "concepts must name the negative and the positive class, got ["),
    ],
)
def test_format_or_classes_that_do_not_fit(dataset_format, concepts, message) -> None:
    with pytest.raises(ConfigError, match="^" + re.escape(message)):
        dataset_reader(dataset_format, concepts)
