# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medti_components.apps.reproduction.bundle_runs import BundleConfigs, InversionSteps, picture_of
from medti_components.errors import ConfigError

BUNDLES = Path(__file__).resolve().parents[3] / "bundles"
TRAIN = BUNDLES / "prostate_mri_textual_inversion" / "configs" / "train.json"


@pytest.fixture
def inversion(tmp_path):
    overlay = tmp_path / "overlay.json"
    overlay.write_text(json.dumps({"max_steps": 10, "batch_size": 4}))
    return InversionSteps(BundleConfigs.of(str([str(TRAIN), str(overlay)])), "prostate_mri", tmp_path, None, 0)


def test_a_step_is_done_with_all_that_it_needs(inversion) -> None:
    training = inversion.training(0)
    (phantoms,) = training.needs
    training.result.mkdir(parents=True)
    assert not training.is_done and training.result.name == "embeddings"
    phantoms.result.mkdir()
    assert training.is_done
    assert len(training.configs) == 2  # the overlay too


def test_minutes_are_those_of_the_record(inversion, tmp_path) -> None:
    training = inversion.training(0)
    assert training.minutes(tmp_path) is None
    record = tmp_path / "steps" / "prostate_mri" / "vectors_64_cases_100" / "seed_0.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"seconds": 90.0}')
    assert training.minutes(tmp_path) == 1.5


def test_pictures_of_steps_that_are_not_done_are_not_shown(inversion) -> None:
    words = inversion.training(0)
    step = inversion.images("a", "generating", words, {})
    step.folder.mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(step.folder / "a.png")
    assert picture_of(step, "a.png") is None
    for need in (words, *words.needs):
        need.result.mkdir(parents=True)
    assert picture_of(step, "a.png").shape == (4, 4, 3)
    assert picture_of(step, "b.png") is None


def test_bundles_are_found_by_their_words(inversion) -> None:
    chest = inversion.bundle.beside(["<chest_xray_pneumonia>"])
    assert chest.first.parents[1].name == "chest_xray_textual_inversion" and chest.overlays == inversion.bundle.overlays
    with pytest.raises(
        ConfigError, match="no bundle in '.*bundles' learns the words <x>: put one beside that of --con"
    ):
        inversion.bundle.beside(["<x>"])
