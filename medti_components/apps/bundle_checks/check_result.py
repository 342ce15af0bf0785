# SPDX-License-Identifier: Apache-2.0
"""The result of a check, as a line on the terminal and as JUnit XML."""

import io
import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from xml.etree import ElementTree

from medti_components.errors import MedtiError


class CheckSkipped(Exception):  # noqa: N818 (no error: it says why there is nothing to check)
    """Raised by a check that does not apply to the bundle; the message says why."""


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Args:
        name: the check's name.
        problems: one line each, with its remedy; empty when the check has passed.
        reason: why it was skipped; None when it was run.
        seconds: how long it took.
    """

    name: str
    problems: tuple[str, ...] = ()
    reason: str | None = None
    seconds: float = 0.0

    @property
    def status(self) -> str:
        """'passed', 'failed' or 'skipped'.

        >>> CheckResult("docs", ("docs/README.md is missing: write it",)).status
        'failed'
        """
        if self.problems:
            return "failed"
        return "passed" if self.reason is None else "skipped"

    @property
    def text(self) -> str:
        """A line, or more where there are several problems.

        >>> print(CheckResult("docs", reason="nothing to read").text)
          docs             skipped  nothing to read
        """
        details = self.problems or ([] if self.reason is None else [self.reason])
        head = f"  {self.name:<16} {self.status:<7}"
        return "\n".join(f"{head}  {detail}" for detail in details) or head.rstrip()


def run_check(name: str, check: Callable[[], Iterable[str]]) -> CheckResult:
    """Run ``check``, which yields one line per problem, and return its result.

    >>> run_check("docs", lambda: ["docs/README.md is missing: write it"]).problems
    ('docs/README.md is missing: write it',)
    """
    started = time.perf_counter()
    problems: tuple[str, ...] = ()
    reason = None
    try:
        with _quiet():
            problems = tuple(" ".join(problem.split()) for problem in check())
    except CheckSkipped as skipped:
        reason = str(skipped)
    except MedtiError as error:
        problems = (" ".join(str(error).split()),)
    return CheckResult(name, problems, reason, time.perf_counter() - started)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what libraries print, log and warn of: a check says in its own words what is wrong."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def junit_xml(results: Mapping[str, Sequence[CheckResult]]) -> str:
    """Return one test suite per bundle, with one test case per check.

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
