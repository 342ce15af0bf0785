# SPDX-License-Identifier: Apache-2.0
"""All checks of a bundle by name, and their run."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from medti_components.apps.bundle_checks import configs, contents, execution
from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_checks.check_result import CheckResult, CheckSkipped, run_check
from medti_components.apps.bundle_checks.execution import TrialRun
from medti_components.errors import BundleError

READING: Mapping[str, Callable[[Bundle], Iterable[str]]] = {
    "structure": contents.structure,
    "metadata": contents.metadata,
    "changelog": contents.changelog,
    "licence": contents.licence,
    "docs": contents.docs,
    "paths": contents.paths,
    "large_files": contents.large_files,
    "checksums": contents.checksums,
    "state_dict": contents.state_dict,
    "run_ids": contents.run_ids,
    "targets": configs.targets,
    "references": configs.references,
    "expressions": configs.expressions,
    "overlays": configs.overlays,
    "keys": configs.keys,
}
EXECUTING: Mapping[str, Callable[[TrialRun], Iterable[str]]] = {
    "properties": execution.properties,
    "training_step": execution.training_step,
    "generation_step": execution.generation_step,
}
STEPS = ("training_step", "generation_step")
LEFT_TO_VALIDATE = ("targets", "overlays")  # these import the components, or look beside the bundle
NUM_SHOWN = 5


def checked(
    bundle: Bundle, folder: Path, steps: bool = True, names: Iterable[str] | None = None
) -> Iterator[CheckResult]:
    """Run checks of a bundle and yield each result at once.

    Args:
        bundle: the bundle.
        folder: for phantoms, which several bundles may share, and for the results of runs.
        steps: whether real steps are run.
        names: of the checks to run; None runs all.
    """
    with _importable(bundle):
        for name in (*READING, *EXECUTING) if names is None else names:
            if name in READING:
                yield run_check(name, partial(READING[name], bundle))
            elif steps or name not in STEPS:
                results = folder / bundle.name / ("steps" if name in STEPS else name)
                trial = TrialRun(bundle, results, folder / "data")
                yield run_check(name, partial(EXECUTING[name], trial))
            else:
                yield run_check(name, _left_out)


def _left_out() -> Iterable[str]:
    raise CheckSkipped("left out by --steps false")


@contextmanager
def _importable(bundle: Bundle) -> Iterator[None]:
    """Let modules in the bundle's folder be imported, as MONAI's run does: a packaged bundle has its own components."""
    path = [*sys.path]
    sys.path.insert(1, str(bundle.folder.resolve()))
    try:
        yield
    finally:
        sys.path[:] = path


def ensure_valid(folder: Path, done: str) -> None:
    """Refuse a packaged bundle that fails a check of ``validate``; checks that run the bundle are left out.

    Raises:
        BundleError: a check fails.
    """
    names = [name for name in READING if name not in LEFT_TO_VALIDATE]
    results = checked(Bundle(folder), folder.parents[1], names=names)
    problems = [f"{result.name}: {problem}" for result in results for problem in result.problems]
    if problems:
        raise BundleError(f"not {done}, correct the bundle first: {'; '.join(problems[:NUM_SHOWN])}")
