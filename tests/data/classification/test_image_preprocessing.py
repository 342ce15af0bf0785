# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from PIL import Image

from medti_components.data.classification.image_preprocessing import image_preprocessing
from medti_components.errors import ConfigError


def test_pictures_keep_what_is_known_of_them(tmp_path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    case = {"image": str(tmp_path / "a.png"), "concept": "", "label": 0, "patient_id": "", "study_id": "a.png"}
    prepared = image_preprocessing("pictures", 4)(case)
    assert prepared["image"].shape == (3, 4, 4) and prepared["image"].max() == -1
    assert prepared["study_id"] == "a.png"


def test_unknown_format() -> None:
    with pytest.raises(ConfigError, match="dataset_format must be one of picai, chexpert, nih, pcam, got 'dicom'"):
        image_preprocessing("dicom", 64)


def test_sequences_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="sequences must be one name or three"):
        image_preprocessing("picai", 64, sequences=["t2w", "adc"])
