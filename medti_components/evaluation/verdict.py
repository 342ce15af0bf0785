# SPDX-License-Identifier: Apache-2.0
"""What an evaluation concludes: on sharing and on quality, each with one of three values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SAFE, NOT_SAFE = "safe under the thresholds", "not safe"
GOOD, NOT_GOOD = "good under the thresholds", "not good"
NOT_SHOWN = "not shown"


@dataclass(frozen=True)
class VerdictCheck:
    """One thing that a verdict depends on.

    Args:
        name: what it is, e.g. "copies".
        is_passed: the outcome; None where it is not shown: not tested, or too few images to tell.
        statement: what was found or why it is not shown, a few words without a full stop.
        limits: the thresholds that the config states, by key.
    """

    name: str
    is_passed: bool | None
    statement: str
    limits: Mapping[str, float] = field(default_factory=dict)


class Verdict:
    """Join checks: bad where one failed, not shown where one is missing or not shown, else good.

    Args:
        about: what it is on, such as "sharing".
        good: its value where every check passed.
        bad: its value where one failed.
        required: names of the checks without which nothing is shown; other checks don't count.

    >>> on_sharing()([VerdictCheck("copies", False, "3 of 200 images are copies")])["statement"]
    'not safe: 3 of 200 images are copies'
    >>> on_quality()([])["statement"]
    'not shown: quality not tested'
    """

    def __init__(self, about: str, good: str, bad: str, required: Sequence[str]) -> None:
        self.about = about
        self.good = good
        self.bad = bad
        self.required = list(required)

    def __call__(self, checks: Sequence[VerdictCheck]) -> dict[str, Any]:
        """Return what ``metrics.json`` holds: the value, the same with its grounds, and every check."""
        made = {check.name: check for check in checks}
        every = [made.get(name) or VerdictCheck(name, None, f"{name} not tested") for name in self.required]
        outcomes = {check.is_passed for check in every}
        outcome = next(outcome for outcome in (False, None, True) if outcome in outcomes)
        value = {True: self.good, False: self.bad, None: NOT_SHOWN}[outcome]
        grounds = "; ".join(check.statement for check in every if check.is_passed is outcome)
        return {
            "verdict": value,
            "statement": f"{value}: {grounds}",
            "checks": {check.name: _plain(check) for check in every},
        }


def on_sharing() -> Verdict:
    """Return the verdict on whether the words may be shared."""
    return Verdict("sharing", SAFE, NOT_SAFE, ("training cases", "copies", "membership"))


def on_quality() -> Verdict:
    """Return the verdict on whether generated images are like real ones."""
    return Verdict("quality", GOOD, NOT_GOOD, ("quality",))


def _plain(check: VerdictCheck) -> dict[str, Any]:
    outcome = {True: "passed", False: "failed", None: NOT_SHOWN}[check.is_passed]
    return {"outcome": outcome, "statement": check.statement, "limits": dict(check.limits)}
