# SPDX-License-Identifier: Apache-2.0
"""Small PI-CAI folders: crafted ones, and phantom studies; the bundle's preprocessing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crafted_picai import CraftedStudy, write_crafted_picai
from monai.bundle import ConfigParser

from medti_components.data.phantoms.prostate_phantom import write_prostate_studies

BUNDLES = Path(__file__).parents[2] / "bundles"
BUNDLE = BUNDLES / "prostate_mri_textual_inversion"
CHEST_BUNDLE = BUNDLES / "chest_xray_textual_inversion"


@pytest.fixture
def crafted_picai(tmp_path: Path) -> Callable[[list[CraftedStudy]], Path]:
    return lambda studies: write_crafted_picai(tmp_path / "picai", studies)


@pytest.fixture(scope="session")
def phantom_picai(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of three negative and three positive phantom studies of seed 0. Read only."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_prostate_studies(folder, num_negative=3, num_positive=3, seed=0, show_progress=False)
    return folder


@pytest.fixture
def preprocessing() -> Callable[..., Any]:
    """Build the bundle's preprocessing for an image size and sequences; other keys as in the config."""

    def build(image_size: int = 64, sequences: tuple[str, ...] = ("t2w", "adc", "hbv"), **keys: Any) -> Any:
        config = json.loads((BUNDLE / "configs" / "train.json").read_text())
        config = {name: config[name] for name in ("preprocessing", "field_of_view_mm")}
        parser = ConfigParser(config | {"image_size": image_size, "sequences": list(sequences)} | keys)
        return parser.get_parsed_content("preprocessing")

    return build


@pytest.fixture
def chest_preprocessing() -> Callable[[int], Any]:
    """Build the chest bundle's preprocessing for an image size."""

    def build(image_size: int) -> Any:
        config = json.loads((CHEST_BUNDLE / "configs" / "train.json").read_text())
        parser = ConfigParser({"preprocessing": config["preprocessing"], "image_size": image_size})
        return parser.get_parsed_content("preprocessing")

    return build
