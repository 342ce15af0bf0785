# SPDX-License-Identifier: Apache-2.0
"""A good bundle to break, with overlays beside it."""

import shutil
from pathlib import Path

import pytest
from configs_of_bundles import PROSTATE, REPOSITORY


@pytest.fixture
def good_bundle(tmp_path: Path) -> Path:
    """A copy of the prostate bundle; beside it overlays, all pages, and of the other bundles configs and pages."""
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    shutil.copytree(REPOSITORY / "bundles", tmp_path / "bundles", ignore=shutil.ignore_patterns("models", "*.png"))
    shutil.copytree(PROSTATE.parent / "docs", tmp_path / "bundles" / PROSTATE.parent.name / "docs", dirs_exist_ok=True)
    shutil.copytree(REPOSITORY / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.png", "*.jpg", "*.svg"))
    shutil.copy(REPOSITORY / "README.md", tmp_path)
    return tmp_path / "bundles" / PROSTATE.parent.name
