# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from medti_components.apps.bundle_package.model_card import read_evaluation
from medti_components.evaluation.verdict import VerdictCheck, on_quality, on_sharing

CASES = VerdictCheck("training cases", True, "none held out")
NO_COPIES = VerdictCheck("copies", True, "no copies", {"max_copy_share": 0.0})
FEW = VerdictCheck("copies", None, "no copies, but up to 30.8% may be")
COPIES = VerdictCheck("copies", False, "3 of 200 are copies")
TELLS = VerdictCheck("membership", False, "<ill> tells its training images")
TELLS_NOT = VerdictCheck("membership", True, "<ill> does not tell")
NOT_TESTED = VerdictCheck("membership", None, "membership not tested, as embeddings is null")


@pytest.mark.parametrize(
    ("checks", "statement"),
    [
        ([CASES, NO_COPIES, TELLS_NOT], "safe under the thresholds: none held out; no copies; <ill> does not tell"),
        ([CASES, NO_COPIES], "not shown: membership not tested"),
        ([NO_COPIES, TELLS_NOT], "not shown: training cases not tested"),
        ([CASES, NO_COPIES, NOT_TESTED], "not shown: membership not tested, as embeddings is null"),
        ([CASES, FEW, TELLS_NOT], "not shown: no copies, but up to 30.8% may be"),
        ([CASES, COPIES, TELLS_NOT], "not safe: 3 of 200 are copies"),
        ([CASES, COPIES, TELLS], "not safe: 3 of 200 are copies; <ill> tells its training images"),
        ([COPIES, NOT_TESTED], "not safe: 3 of 200 are copies"),
        ([FEW, TELLS], "not safe: <ill> tells its training images"),
    ],
)
def test_only_what_passed_every_test_is_safe(checks, statement, tmp_path):
    found = on_sharing()(checks)
    assert found["statement"] == statement
    assert found["verdict"] == statement.partition(":")[0]
    (tmp_path / "metrics.json").write_text(json.dumps({"verdict": found}))
    summary = read_evaluation(tmp_path)
    assert summary.verdicts == {"sharing": statement}
    assert summary.is_safe == (found["verdict"] == "safe under the thresholds")


def test_quality_has_a_verdict_of_its_own():
    checks = [CASES, NO_COPIES, TELLS_NOT, VerdictCheck("quality", False, "precision of <ill> is 0")]
    assert on_sharing()(checks)["verdict"] == "safe under the thresholds"
    assert on_quality()(checks)["statement"] == "not good: precision of <ill> is 0"


def test_verdict_holds_every_check_with_its_limits():
    assert on_sharing()([CASES, NO_COPIES])["checks"] == {
        "training cases": {"outcome": "passed", "statement": "none held out", "limits": {}},
        "copies": {"outcome": "passed", "statement": "no copies", "limits": {"max_copy_share": 0.0}},
        "membership": {"outcome": "not shown", "statement": "membership not tested", "limits": {}},
    }
