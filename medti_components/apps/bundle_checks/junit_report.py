# SPDX-License-Identifier: Apache-2.0
"""Results of checks as JUnit XML, which continuous integration shows."""

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from medti_components.apps.bundle_checks.check_result import CheckResult


def junit_xml(results: Mapping[str, Sequence[CheckResult]]) -> str:
    """Return a test suite a bundle, a test case a check.

    Args:
        results: of each bundle, by its name.

    >>> print(junit_xml({"a_bundle": [CheckResult("docs", ("x is missing: add it",))]}))
    <?xml version='1.0' encoding='utf-8'?>
    <testsuites>
      <testsuite name="a_bundle" tests="1" failures="1" errors="0" skipped="0" time="0.000">
        <testcase classname="a_bundle" name="docs" time="0.000">
          <failure message="x is missing: add it">x is missing: add it</failure>
        </testcase>
      </testsuite>
    </testsuites>
    """
    root = ElementTree.Element("testsuites")
    for name, checks in results.items():
        statuses = [check.status for check in checks]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=name,
            tests=str(len(checks)),
            failures=str(statuses.count("failed")),
            errors="0",
            skipped=str(statuses.count("skipped")),
            time=f"{sum(check.seconds for check in checks):.3f}",
        )
        for check in checks:
            case = ElementTree.SubElement(
                suite, "testcase", classname=name, name=check.name, time=f"{check.seconds:.3f}"
            )
            if check.status == "failed":
                failure = ElementTree.SubElement(case, "failure", message=_legal(check.problems[0]))
                failure.text = _legal("\n".join(check.problems))
            elif check.reason is not None:
                ElementTree.SubElement(case, "skipped", message=_legal(check.reason))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True).replace("'UTF-8'", "'utf-8'")


def _legal(text: str) -> str:
    """Return ``text`` without what XML can't hold: control characters and halves of surrogate pairs."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t")
