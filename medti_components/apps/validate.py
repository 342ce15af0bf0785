# SPDX-License-Identifier: Apache-2.0
"""The command ``validate``: whether a bundle is complete, and works."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from medti_components.bundle.shipped import shipped_path
from medti_components.errors import BundleError
from medti_components.files import ensure_writable_directory, write_text_atomically

BUNDLES = "bundles"


def validate(bundle: str = "", *, all: bool = False, steps: bool = True, junit_xml: str = "") -> Iterator[str]:
    """Check a bundle, or all of them: files, metadata, configs, then a step of training and an image.

    One line per check: passed, failed (with the remedy) or skipped (with the reason). The exit status is 1 when a check
    has failed. A config is code, and validating runs it: validate what you would run.

    A bundle is checked for what it has. In its source form, as here in bundles/, weights may be missing; a
    packaged bundle (one with models/model.pt) must also have inference.json, SHA256SUMS over all files, a model.pt that
    is a plain state dict, and no links out of its folder.

    Args:
        bundle: the bundle's folder, such as bundles/prostate_mri_textual_inversion.
        all: check every folder in bundles/ instead, or every bundle that comes with the software.
        steps: also run a real step of training and of generation, on phantoms and the embedded base model.
        junit_xml: file for the results as JUnit XML.
    """
    from medti_components.apps.bundle_checks.bundle import Bundle
    from medti_components.apps.bundle_checks.check_result import CheckResult
    from medti_components.apps.bundle_checks.check_result import junit_xml as as_junit_xml
    from medti_components.apps.bundle_checks.checks import checked

    bundles = [Bundle(folder) for folder in _folders(bundle, all)]
    if junit_xml:
        ensure_writable_directory(Path(junit_xml).parent, "junit_xml")
    results: dict[str, list[CheckResult]] = {}
    with tempfile.TemporaryDirectory(prefix="medti_validate_") as folder:
        for one in bundles:
            yield one.name
            results[one.name] = []
            for result in checked(one, Path(folder), steps):
                results[one.name].append(result)
                yield result.text
    if junit_xml:
        write_text_atomically(junit_xml, as_junit_xml(results))
    failed = {name: [check.name for check in checks if check.problems] for name, checks in results.items()}
    failed = {name: checks for name, checks in failed.items() if checks}
    if failed:
        raise BundleError("; ".join(f"{name} is not valid: {', '.join(checks)}" for name, checks in failed.items()))
    yield f"valid: {', '.join(results)}"


def _folders(bundle: str, all: bool) -> list[Path]:
    if bool(bundle) == all:
        raise BundleError("give the folder of one bundle, or --all for those in bundles/")
    if bundle:
        return [shipped_path(bundle)]
    place = shipped_path(BUNDLES)
    folders = sorted(path for path in place.glob("[!._]*") if path.is_dir())
    if not folders:
        raise BundleError(f"there is no bundle in '{place.resolve()}': run --all elsewhere")
    return folders
