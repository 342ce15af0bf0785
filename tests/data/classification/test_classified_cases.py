# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.data.classification.classified_cases import ClassifiedCases
from medti_components.errors import DataError

CLASSES = ["<a_negative>", "<a_positive>"]


def test_table_is_read_back(tmp_path) -> None:
    cases = ClassifiedCases(CLASSES)
    batch = {"study_id": ["1", "2", "3"], "patient_id": ["7", "8", "9"], "concept": [*CLASSES, CLASSES[1]]}
    cases.add(batch, torch.tensor([[0.0, -40.0], [1.0, 2.0], [0.0, 25.0]]))
    cases.write_table(tmp_path)
    again = ClassifiedCases.read_table(tmp_path / "probabilities.csv", CLASSES)
    assert (again.study_ids, again.patient_ids, again.concepts) == (cases.study_ids, cases.patient_ids, cases.concepts)
    torch.testing.assert_close(again.log_odds, cases.log_odds, rtol=1e-6, atol=1e-6)


def test_table_of_another_kind_or_none(tmp_path) -> None:
    with pytest.raises(DataError, match="missing.csv' can't be read .*: evaluate the classifier again"):
        ClassifiedCases.read_table(tmp_path / "missing.csv", CLASSES)
    (tmp_path / "other.csv").write_text("study_id,patient_id\n1,2\n")
    with pytest.raises(
        DataError, match="other.csv' must have the columns study_id, patient_id, a_negative, a_positive"
    ):
        ClassifiedCases.read_table(tmp_path / "other.csv", CLASSES)
    (tmp_path / "torn.csv").write_text("study_id,patient_id,a_negative,a_positive,true_class\n1,2,x,0.1,a_negative\n")
    with pytest.raises(DataError, match="torn.csv' can't be read"):
        ClassifiedCases.read_table(tmp_path / "torn.csv", CLASSES)
