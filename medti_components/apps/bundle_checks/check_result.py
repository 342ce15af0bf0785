# SPDX-License-Identifier: Apache-2.0
"""What comes of a check."""

import io
import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass

from medti_components.errors import MedtiError


class CheckSkipped(Exception):  # noqa: N818 (no error: it says why there is nothing to check)
    """Raised by a check that does not apply to the bundle; the message says why."""


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Args:
        name: the check's name.
        problems: a line each, with what to do; none when the check has passed.
        reason: why it was left out; None when it was not.
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
    """Run ``check``, which gives a line a problem, and note what comes of it.

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
    """Keep to itself what libraries print, log and warn of: a check says in its own words what is wrong."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
