# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path
from typing import Any

import pytest

from medti_components.data.datasets.classifier_datalist import classifier_datalist
from medti_components.data.datasets.picai import picai_datalist
from medti_components.data.phantoms.prostate_phantom import write_prostate_studies
from medti_components.errors import ConfigError, DataError

CONCEPTS = ["<prostate_mri_negative>", "<prostate_mri_positive>"]


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    write_prostate_studies(folder, num_negative=9, num_positive=9, seed=0, show_progress=False)
    return folder


def arguments(studies: Path, **others: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"dataset_dir": studies, "classifier_dataset_dir": None, "concepts": CONCEPTS, "seed": 0}
    given |= {"num_cases": 2, "num_validation_cases": 1, "num_test_cases": 2}
    given |= {"num_classifier_cases": 3, "num_classifier_validation_cases": 1, "split": "training"}
    return {**given, **others}


def patients(entries: list[dict[str, Any]]) -> set[str]:
    return {entry["patient_id"] for entry in entries}


def test_other_studies_are_listed_as_by_picai_datalist(studies: Path) -> None:
    given = arguments(Path("not looked at"), classifier_dataset_dir=studies)
    expected = picai_datalist(studies, CONCEPTS, num_cases=3, num_validation_cases=1, seed=0, split="training")
    assert classifier_datalist(**given) == expected


def test_without_other_studies_the_classifier_takes_what_is_left(studies: Path) -> None:
    own = {split: classifier_datalist(**arguments(studies, split=split)) for split in ("training", "validation")}
    assert {split: len(entries) for split, entries in own.items()} == {"training": 6, "validation": 2}
    assert not patients(own["training"]) & patients(own["validation"])
    for split in ("training", "validation", "test"):
        seen = picai_datalist(studies, CONCEPTS, 2, 1, seed=0, split=split, num_test_cases=2)
        assert not patients(seen) & (patients(own["training"]) | patients(own["validation"])), split


def test_too_few_left_names_both_ways_out(studies: Path) -> None:
    message = (
        "concept '<prostate_mri_negative>' has 4 cases left for the classifier, 5 are asked for: "
        "lower --num_classifier_cases, or give other studies by --classifier_dataset_dir"
    )
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        classifier_datalist(**arguments(studies, num_classifier_cases=4))


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
        ({"split": "test"}, ConfigError, "split must be 'training' or 'validation', got 'test': "),
    ],
)
def test_errors_name_the_classifier_s_keys(studies: Path, others: dict[str, Any], kind: type, message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        classifier_datalist(**arguments(studies, **{"classifier_dataset_dir": studies, **others}))
