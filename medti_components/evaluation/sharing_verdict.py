# SPDX-License-Identifier: Apache-2.0
"""Whether generated images and words may be shared, from what the parts of an evaluation found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SAFE, NOT_SAFE = "safe to share", "not safe to share"


@dataclass(frozen=True)
class SharingCheck:
    """One thing that sharing depends on.

    Args:
        name: what it is, e.g. "copies".
        is_passed: the outcome; None where it was not tested.
        statement: what was found or why it was not tested, a few words without a full stop.
        limits: the thresholds that the config states, by key.
    """

    name: str
    is_passed: bool | None
    statement: str
    limits: Mapping[str, float] = field(default_factory=dict)


class SharingVerdict:
    """Join the checks of all parts: safe where none failed and none that is required is missing.

    Args:
        required: names of the checks without which nothing is called safe.

    >>> verdict = SharingVerdict()
    >>> verdict([SharingCheck("copies", False, "3 of 200 images are copies")])["verdict"]
    'not safe to share: 3 of 200 images are copies'
    >>> verdict([])["verdict"]
    'not safe to share: copies not tested'
    """

    def __init__(self, required: Sequence[str] = ("copies",)) -> None:
        self.required = list(required)

    def __call__(self, checks: Sequence[SharingCheck]) -> dict[str, Any]:
        """Return what ``metrics.json`` holds under "verdict": the text, whether it is good, and every check."""
        absent = [name for name in self.required if name not in {check.name for check in checks}]
        every = [*checks, *(SharingCheck(name, None, f"{name} not tested") for name in absent)]
        failed = [check for check in every if check.is_passed is False]
        missing = [check for check in every if check.is_passed is None]
        reasons = failed + [check for check in missing if check.name in self.required]
        untold = [check for check in missing if check not in reasons]
        text = f"{NOT_SAFE}: {_joined(reasons)}" if reasons else f"{SAFE}, as far as tested" if untold else SAFE
        return {
            "verdict": f"{text} ({_joined(untold)})" if untold else text,
            "is_safe": not reasons,
            "checks": {check.name: _plain(check) for check in every},
        }


def _joined(checks: Sequence[SharingCheck]) -> str:
    return "; ".join(check.statement for check in checks)


def _plain(check: SharingCheck) -> dict[str, Any]:
    outcome = {True: "passed", False: "failed", None: "not tested"}[check.is_passed]
    return {"outcome": outcome, "statement": check.statement, "limits": dict(check.limits)}
