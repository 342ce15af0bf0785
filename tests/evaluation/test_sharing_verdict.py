# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from medti_components.apps.bundle_package.model_card import EvaluationSummary, read_evaluation
from medti_components.evaluation.evaluation import SharingCheck, SharingVerdict

NO_COPIES = SharingCheck("copies", True, "no copies", {"max_copy_share": 0.0})
COPIES = SharingCheck("copies", False, "3 of 200 are copies")
TELLS = SharingCheck("membership", False, "<ill> tells its training images")
TELLS_NOT = SharingCheck("membership", True, "<ill> does not tell")
NOT_TESTED = SharingCheck("membership", None, "membership not tested, as embeddings is null")


@pytest.mark.parametrize(
    ("checks", "text"),
    [
        ([NO_COPIES, TELLS_NOT], "safe to share"),
        ([NO_COPIES], "safe to share"),
        (
            [NO_COPIES, NOT_TESTED],
            "safe to share, as far as tested (membership not tested, as embeddings is null)",
        ),
        ([COPIES, TELLS_NOT], "not safe to share: 3 of 200 are copies"),
        ([COPIES, TELLS], "not safe to share: 3 of 200 are copies; <ill> tells its training images"),
        ([TELLS_NOT], "not safe to share: copies not tested"),
        (
            [COPIES, NOT_TESTED],
            "not safe to share: 3 of 200 are copies (membership not tested, as embeddings is null)",
        ),
        ([SharingCheck("copies", None, "num_cases is 0")], "not safe to share: num_cases is 0"),
    ],
)
def test_verdict_names_what_failed_and_what_was_not_tested(checks, text, tmp_path):
    found = SharingVerdict()(checks)
    assert found["verdict"] == text
    assert found["is_safe"] == text.startswith("safe")
    (tmp_path / "metrics.json").write_text(json.dumps({"verdict": found}))
    assert read_evaluation(tmp_path) == EvaluationSummary([], text)
    assert read_evaluation(tmp_path).is_refused == (not found["is_safe"])


def test_verdict_holds_every_check_with_its_limits():
    assert SharingVerdict(required=["copies", "membership"])([NO_COPIES])["checks"] == {
        "copies": {"outcome": "passed", "statement": "no copies", "limits": {"max_copy_share": 0.0}},
        "membership": {"outcome": "not tested", "statement": "membership not tested", "limits": {}},
    }
