# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path
from typing import Any

import pytest

from medti_components.data.classifier_datalist import classifier_datalist
from medti_components.data.picai import picai_datalist
from medti_components.data.prostate_phantom_studies import write_prostate_studies
from medti_components.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    write_prostate_studies(folder, num_negative=2, num_positive=2, seed=0, show_progress=False)
    return folder


def arguments(studies: Path, **others: Any) -> dict[str, Any]:
    concepts = ["<prostate_mri_negative>", "<prostate_mri_positive>"]
    given = {"dataset_dir": studies, "concepts": concepts, "num_cases": 1, "num_validation_cases": 1, "seed": 0}
    return {**given, "split": "training", **others}


def test_lists_what_picai_datalist_lists(studies: Path) -> None:
    assert classifier_datalist(**arguments(studies)) == picai_datalist(**arguments(studies))


@pytest.mark.parametrize(
    ("others", "kind", "message"),
    [
        (
            {"num_cases": 9},
            DataError,
            "num_classifier_cases asks for 9 and num_classifier_validation_cases for 1: lower ",
        ),
        ({"num_cases": -1}, ConfigError, "num_classifier_cases must be a whole number of at least 0, got -1: correct "),
    ],
)
def test_errors_name_the_classifier_s_keys(studies: Path, others: dict[str, Any], kind: type, message: str) -> None:
    with pytest.raises(kind, match=re.escape(message) + "--num_classifier_cases"):
        classifier_datalist(**arguments(studies, **others))
