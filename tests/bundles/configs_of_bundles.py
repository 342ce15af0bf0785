# SPDX-License-Identifier: Apache-2.0
"""The configs in the repository, for the tests that go through all of them."""

from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLES = sorted(folder for folder in (REPOSITORY / "bundles").iterdir() if (folder / "configs").is_dir())
CONFIGS = sorted(path for bundle in BUNDLES for path in (bundle / "configs").glob("*.json") if path.stem != "metadata")
PROSTATE = REPOSITORY / "bundles" / "prostate_mri_textual_inversion" / "configs"
CHEST = REPOSITORY / "bundles" / "chest_xray_textual_inversion" / "configs"
CLASSIFICATION = REPOSITORY / "bundles" / "prostate_cancer_classification" / "configs"
HISTOPATHOLOGY = REPOSITORY / "bundles" / "histopathology_textual_inversion" / "configs"
OVERLAYS = sorted((REPOSITORY / "configs").glob("*.json"))


def short_name(path: Path) -> str:
    """Name a test after the path in the repository."""
    return str(path.relative_to(REPOSITORY))


def load(path: Path) -> dict[str, Any]:
    """Read a config file as MONAI does, which refuses duplicate keys."""
    return ConfigParser.load_config_file(path)
