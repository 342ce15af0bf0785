# SPDX-License-Identifier: Apache-2.0
import logging
import sys
import warnings
from xml.etree import ElementTree

from medti_components.apps.bundle_checks.check_result import CheckResult, CheckSkipped, junit_xml, run_check
from medti_components.errors import ConfigError


def noisy():
    print("a line")
    print("another", file=sys.stderr)
    warnings.warn("a warning", stacklevel=1)
    logging.getLogger("medti_components").error("a record")
    yield "x is\nmissing"


def test_what_a_check_prints_logs_and_warns_of_is_not_shown(capsys, caplog):
    assert run_check("noisy", noisy).problems == ("x is missing",)
    assert capsys.readouterr() == ("", "")
    assert caplog.records == []
    logging.getLogger("medti_components").error("a later record")
    assert len(caplog.records) == 1


def test_reason_for_leaving_out_and_typed_errors_are_told():
    def skipping():
        raise CheckSkipped("no data")

    def failing():
        raise ConfigError("seed must not be negative, got -1")

    assert run_check("a", skipping).reason == "no data"
    assert run_check("a", skipping).status == "skipped"
    assert run_check("a", failing).problems == ("seed must not be negative, got -1",)


def test_each_problem_has_a_line_of_its_own():
    assert CheckResult("docs", ("a", "b")).text == ("  docs             failed   a\n  docs             failed   b")
    assert CheckResult("docs").text == "  docs             passed"


def test_xml_counts_and_holds_what_xml_can_hold():
    checks = [
        CheckResult("docs", ("<a> & \x1b[31mred\x00", "b"), seconds=0.5),
        CheckResult("paths"),
        CheckResult("checksums", reason="no sums"),
    ]
    (suite,) = ElementTree.fromstring(junit_xml({"a_bundle": checks}))
    counts = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped", "time")}
    assert counts == {"tests": "3", "failures": "1", "errors": "0", "skipped": "1", "time": "0.500"}
    assert suite[0][0].get("message") == "<a> & [31mred"
    assert suite[0][0].text == "<a> & [31mred\nb"
    assert len(suite[1]) == 0
    assert suite[2][0].get("message") == "no sums"
