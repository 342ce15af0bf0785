# SPDX-License-Identifier: Apache-2.0
"""What is neither packed nor uploaded."""

from collections.abc import Iterable
from pathlib import Path

from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_package.evaluation_summary import METRICS, EvaluationSummary, read_evaluation
from medti_components.apps.validate import READING, checked
from medti_components.errors import BundleError

LEFT_TO_VALIDATE = ("targets", "overlays")  # these import the components, or look beside the bundle
NUM_SHOWN = 5


def shareable_evaluation(folder: str, override_verdict: bool) -> EvaluationSummary | None:
    """Read an evaluation's ``metrics.json``; None where no folder is given.

    Raises:
        BundleError: it can't be read, or finds the weights not safe to share and that is not overridden.
    """
    summary = read_evaluation(folder) if folder else None
    if summary is not None and summary.is_refused and not override_verdict:
        raise BundleError(
            f"'{Path(folder) / METRICS}' says '{summary.verdict}': share other weights, or give "
            "--override_verdict true, which the model card states"
        )
    return summary


def ensure_nothing_found(found: Iterable[str], done: str) -> None:
    """Refuse where traces of patients were found.

    Args:
        found: a line a trace.
        done: what is refused, such as "packed".

    Raises:
        BundleError: there is one.

    >>> ensure_nothing_found(["scan.dcm is or contains a DICOM file"], "packed")
    Traceback (most recent call last):
    ...
    medti_components.errors.BundleError: not packed, remove first: scan.dcm is or contains a DICOM file
    """
    lines = [*found]
    if lines:
        more = f"; and {len(lines) - NUM_SHOWN} more" if len(lines) > NUM_SHOWN else ""
        raise BundleError(f"not {done}, remove first: {'; '.join(lines[:NUM_SHOWN])}{more}")


def ensure_valid(folder: Path, done: str) -> None:
    """Refuse a packaged bundle that fails a check of ``validate``, but for those that run it.

    Raises:
        BundleError: it fails one.
    """
    names = [name for name in READING if name not in LEFT_TO_VALIDATE]
    results = checked(Bundle(folder), folder.parents[1], names=names)
    problems = [f"{result.name}: {problem}" for result in results for problem in result.problems]
    if problems:
        raise BundleError(f"not {done}, correct the bundle first: {'; '.join(problems[:NUM_SHOWN])}")
