# SPDX-License-Identifier: Apache-2.0
import re
from functools import partial

import pytest
from crafted_radiographs import chexpert_row, write_chexpert, write_nih

from medti_components.data.datasets.radiograph_cases import SEVERAL_FINDINGS, RadiographCases, RadiographSplits
from medti_components.data.datasets.radiographs import FINDINGS
from medti_components.data.datasets.splits import SPLITS, Sizes, check_patients_apart
from medti_components.errors import DataError

HEALTHY, HEART, EFFUSION, PNEUMONIA = TOKENS = [f"<chest_xray_{finding}>" for finding in FINDINGS]


def listed(folder, split, others=None, concepts=TOKENS, sizes=(2, 1, 2), dataset_format="chexpert", **kwargs):
    """Return the images with several findings of a split; training and validation are the classifier's."""
    training, validation, test = sizes
    splits = RadiographSplits(
        partial(RadiographCases, dataset_format=dataset_format, concepts=concepts, **kwargs),
        folder,
        num_cases=0,
        num_validation_cases=0,
        seed=0,
        num_test_cases=0,
        classifier_dataset_dir=others,
        num_classifier_cases=0,
        num_classifier_validation_cases=0,
        num_several_test_cases=test,
        num_several_cases=training,
        num_several_validation_cases=validation,
    ).several
    return splits.test if split == "test" else getattr(splits, f"classifier_{split}")


def patients(entries):
    return sorted(int(entry["patient_id"].removeprefix("patient")) for entry in entries)


@pytest.fixture
def folder(tmp_path):
    """Six patients with several findings alone, and some who must not be among them."""
    rows = [chexpert_row(patient, pleural=1, pneumonia=1) for patient in range(1, 7)]
    rows += [chexpert_row(20, pneumonia=1, cardiomegaly=1), chexpert_row(20, study=2, pneumonia=1)]
    rows += [chexpert_row(21, pneumonia=1, cardiomegaly=-1, pleural=1), chexpert_row(22, no=1, pneumonia=1)]
    rows += [chexpert_row(23, view="PA", pleural=1, pneumonia=1)]
    rows += [chexpert_row(30 + number, no=1) for number in range(3)]
    return write_chexpert(tmp_path / "data", rows)


def test_patients_have_no_image_of_one_finding_alone_nothing_uncertain_and_the_view(folder):
    entries = listed(folder, "test", sizes=(0, 0, 6))
    assert patients(entries) == [1, 2, 3, 4, 5, 6]
    assert entries[0] == {
        "image": str(folder / f"train/{entries[0]['patient_id']}/study1/view1_frontal.jpg"),
        "findings": ["pleural_effusion", "pneumonia"],
        "view": "AP",
        "concept": SEVERAL_FINDINGS,
        "patient_id": entries[0]["patient_id"],
        "study_id": f"{entries[0]['patient_id']}_study1_view1_frontal",
    }
    assert patients(listed(folder, "test", sizes=(0, 0, 7), views=["AP", "PA"])) == [1, 2, 3, 4, 5, 6, 23]


def test_findings_that_no_word_is_about_do_not_count(folder):
    # now an image of pneumonia and effusion stands for pneumonia alone, but not by itself
    assert listed(folder, "test", concepts=[HEALTHY, PNEUMONIA], sizes=(0, 0, 0)) == []
    with pytest.raises(DataError, match="^concept 'several findings' has no cases in '.*' .*: "):
        listed(folder, "test", concepts=[HEALTHY, PNEUMONIA], sizes=(0, 0, 1))


def test_splits_of_one_data_set_share_no_patient(folder):
    splits = {split: listed(folder, split) for split in SPLITS}
    assert {split: len(entries) for split, entries in splits.items()} == {"training": 2, "validation": 1, "test": 2}
    single = RadiographCases(folder, "chexpert", [HEALTHY, PNEUMONIA]).drawn("test", Sizes(0, 0), 0)
    check_patients_apart({**splits, "single": single})


def test_training_and_validation_come_from_other_studies_where_there_are_some(folder, tmp_path):
    rows = [chexpert_row(patient, cardiomegaly=1, pneumonia=1) for patient in range(50, 54)]
    others = write_chexpert(tmp_path / "others", rows)
    assert set(patients(listed(folder, "training", others))) <= {50, 51, 52, 53}
    assert len(listed(folder, "validation", others)) == 1
    assert set(patients(listed(folder, "test", others))) <= {1, 2, 3, 4, 5, 6}


def test_none_asked_for_is_none_even_where_there_are_none(tmp_path):
    folder = write_chexpert(tmp_path / "data", [chexpert_row(1, no=1)])
    for split in SPLITS:
        assert listed(folder, split, sizes=(0, 0, 0)) == []


def test_nih_lists_them_too(tmp_path):
    rows = [("1.png", "Effusion|Pneumonia", "1", "AP"), ("2.png", "Effusion|Mass", "2", "AP")]
    folder = write_nih(tmp_path / "nih", rows)
    entries = listed(folder, "test", sizes=(0, 0, 1), dataset_format="nih")
    assert [entry["patient_id"] for entry in entries] == ["1"]


@pytest.mark.parametrize(
    ("split", "others", "sizes", "message"),
    [
        (
            "test",
            False,
            (0, 0, 9),
            "concept 'several findings' has 6 cases left for test, 9 are asked for: lower --num_several_test_cases",
        ),
        (
            "training",
            True,
            (9, 1, 0),
            "concept 'several findings' has 6 cases (left out: 1 of patients with an image of a concept), "
            "num_several_cases asks for 9 and num_several_validation_cases for 1: lower --num_several_cases or "
            "--num_several_validation_cases",
        ),
        (
            "training",
            False,
            (5, 1, 2),
            "concept 'several findings' has 4 cases left for the classifier, 6 are asked for: lower "
            "--num_several_cases, or give other studies by --classifier_dataset_dir",
        ),
    ],
)
def test_too_few_name_the_keys_to_lower(folder, split, others, sizes, message):
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        listed(folder, split, folder if others else None, sizes=sizes)
