# SPDX-License-Identifier: Apache-2.0
"""The command validate: its lines, its report and its exit status, and that the repository's bundles pass."""

import re
import shlex
import shutil
import sys
from xml.etree import ElementTree

import pytest
from configs_of_bundles import BUNDLES, PROSTATE, REPOSITORY, short_name

from medti_components.__main__ import main
from medti_components.apps.bundle_checks import checks as command
from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_checks.checks import EXECUTING, READING, checked

CHECKS = {*READING, *EXECUTING}


@pytest.fixture
def reading_only(monkeypatch):
    """Leave out what executes a bundle."""
    monkeypatch.setattr(command, "EXECUTING", {name: lambda trial: [] for name in EXECUTING})


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Folder of the phantoms."""
    return tmp_path_factory.mktemp("shared")


@pytest.mark.parametrize("bundle", BUNDLES, ids=short_name)
def test_bundle_passes_all_but_the_steps(bundle, shared):
    results = [*checked(Bundle(bundle), shared, steps=False)]
    assert [result.text for result in results if result.problems] == []
    assert [result.name for result in results] == [*READING, *EXECUTING]
    assert {result.reason for result in results[-2:]} == {"left out by --steps false"}


@pytest.mark.slow
@pytest.mark.parametrize("bundle", BUNDLES, ids=short_name)
def test_bundle_trains_a_step_and_generates(bundle, shared, forked):
    results = [*checked(Bundle(bundle), shared, names=("training_step", "generation_step"))]
    assert [(result.status, result.problems) for result in results] == [("passed", ())] * 2


def test_valid_bundle_ends_with_status_0_and_a_report(reading_only, tmp_path, capsys):
    report = tmp_path / "reports" / "validate.xml"
    assert main(["validate", str(PROSTATE.parent), "--junit_xml", str(report)]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "prostate_mri_textual_inversion"
    assert lines[1] == "  structure        passed"
    assert lines[-1] == "valid: prostate_mri_textual_inversion"
    assert captured.err == ""
    (suite,) = ElementTree.parse(report).getroot()
    assert [case.get("name") for case in suite] == [*READING, *EXECUTING]


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the bundles beneath the working directory, of which the licences alone are looked at."""
    shutil.copytree(REPOSITORY / "bundles", tmp_path / "bundles", ignore=shutil.ignore_patterns("models", "*.png"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "READING", {"licence": READING["licence"]})
    return tmp_path / "bundles"


def test_commands_of_the_page_run(reading_only, copied, capsys):
    page = (REPOSITORY / "docs" / "sharing.md").read_text()
    lines = re.findall(r"^python -m medti_components (validate .*)$", page, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        assert main(shlex.split(line)) == 0
    assert {*re.findall(r"^\| `(\w+)` \|", page.partition("## Validating")[2], re.MULTILINE)} == CHECKS


def test_all_bundles_are_checked_and_the_verdict_names_the_broken(reading_only, copied, capsys):
    (copied / "chest_xray_textual_inversion" / "LICENSE").unlink()
    assert main(["validate", "--all", "--junit_xml", "report.xml"]) == 1
    captured = capsys.readouterr()
    assert "  licence          failed   LICENSE is missing: add it" in captured.out.splitlines()
    assert captured.err == "error: chest_xray_textual_inversion is not valid: licence\n"
    suites = ElementTree.parse("report.xml").getroot()
    assert [suite.get("name") for suite in suites] == [bundle.name for bundle in BUNDLES]
    assert {suite.get("failures") for suite in suites} == {"0", "1"}


def test_modules_in_a_bundle_can_be_named(tmp_path):
    bundle = tmp_path / "bundles" / "own"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "own_components.py").write_text("def one():\n    return 1\n")
    (bundle / "configs" / "train.json").write_text('{"a": {"_target_": "own_components.one"}}')
    (result,) = checked(Bundle(bundle), tmp_path, names=["targets"])
    assert result.problems == ()
    assert str(bundle) not in sys.path


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "give the folder of one bundle, or --all for those in bundles/"),
        (["a", "--all"], "give the folder of one bundle, or --all for those in bundles/"),
        (["nowhere"], "'nowhere' is no bundle: give a folder that holds configs/metadata.json"),
        (["a", "--stepz", "false"], "unknown option '--stepz': did you mean '--steps'?"),
        (["a", "--steps", "maybe"], "steps must be true or false, got 'maybe'"),
        (["a", "b"], "'b' is one value too many: name each value by its option, --bundle, --all, --steps, --junit_xml"),
    ],
)
def test_mistakes_end_in_one_line_and_status_1(arguments, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["validate", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.err == f"error: {line.format(cwd=tmp_path)}\n"
    assert captured.out == ""


def test_report_that_cannot_be_written_is_told_before_anything_is_checked(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["validate", str(PROSTATE.parent), "--junit_xml", str(tmp_path / "file" / "report.xml")]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: junit_xml '{tmp_path}/file' is not writable")
    assert captured.out == ""
