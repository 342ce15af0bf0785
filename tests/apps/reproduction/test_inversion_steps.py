# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medti_components.apps.reproduction.bundle_configs import BundleConfigs
from medti_components.apps.reproduction.inversion_steps import InversionSteps
from medti_components.errors import ConfigError

BUNDLES = Path(__file__).resolve().parents[3] / "bundles"
TRAIN = BUNDLES / "prostate_mri_textual_inversion" / "configs" / "train.json"


@pytest.fixture
def inversion(tmp_path):
    overlay = tmp_path / "overlay.json"
    overlay.write_text(json.dumps({"max_steps": 10, "batch_size": 4}))
    return InversionSteps(BundleConfigs.of(str([str(TRAIN), str(overlay)])), "prostate_mri", tmp_path, None, 0)


def test_work_counts_what_the_network_sees(inversion) -> None:
    phantoms, training = inversion.training(0)
    assert phantoms.work == 2 * 390  # (100 + 20 + 100 + 125 + 25) * 1.05 + 2 of each class
    assert training.work == 10 * 4 * 2 and training.resume == ("--resume", "true")
    images = inversion.images("rows", "interpolating", training, {"num_images": 3, "num_inference_steps": 5}, rows=5)
    assert images.work == 3 * 5 * 5 * 2 and images.resume == ()
    plain = inversion.images("plain", "generating", training, {"guidance_scale": 1.0, "num_images": 1})
    assert plain.work == 100  # no unconditional prediction


def test_overlays_count_as_files_of_every_command(inversion, tmp_path) -> None:
    training = inversion.training(0)[-1]
    before = training.digests
    (tmp_path / "overlay.json").write_text(json.dumps({"max_steps": 11}))
    assert training.digests != before and len(before) == 2


def test_pictures_of_commands_that_are_not_done_are_not_shown(inversion) -> None:
    step = inversion.training(0)[-1]
    folder = inversion.folder(step)
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(folder / "a.png")
    assert inversion.picture(step, "a.png", []) is None
    assert inversion.picture(step, "a.png", [step.name]).shape == (4, 4, 3)
    assert inversion.picture(step, "b.png", [step.name]) is None


def test_bundles_are_found_by_their_words(inversion) -> None:
    chest = inversion.bundle.beside(["<chest_xray_pneumonia>"])
    assert chest.first.parents[1].name == "chest_xray_textual_inversion" and chest.overlays == inversion.bundle.overlays
    with pytest.raises(
        ConfigError, match="no bundle in '.*bundles' learns the words <x>: put one beside that of --con"
    ):
        inversion.bundle.beside(["<x>"])
