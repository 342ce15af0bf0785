# SPDX-License-Identifier: Apache-2.0
from medti_components.apps.phantoms import Phantoms


def test_prostate_mri_says_what_it_wrote(tmp_path):
    said = Phantoms().prostate_mri(str(tmp_path), num_negative=1, num_positive=0, seed=5)
    assert said == f"1 studies (1 negative, 0 positive, seed 5) in {tmp_path}"
    assert len(list(tmp_path.glob("images/*/*_t2w.mha"))) == 1


def test_chest_xray_says_what_it_wrote(tmp_path):
    said = Phantoms().chest_xray(str(tmp_path), 2, 1, 0, 1, seed=5, share_of_others=0.25)
    assert said == (
        f"5 images (2 no_finding, 1 cardiomegaly, 0 pleural_effusion, 1 pneumonia, 1 others, seed 5) in {tmp_path}"
    )
    assert len(list(tmp_path.glob("*/train/*/study1/view1_frontal.jpg"))) == 5


def test_histopathology_says_what_it_wrote(tmp_path):
    said = Phantoms().histopathology(str(tmp_path), num_normal=1, num_tumor=2, seed=5)
    assert said == (f"9 patches (1 normal and 2 tumor in each of train, valid and test, seed 5) in {tmp_path}")
    assert len(list(tmp_path.glob("camelyonpatch_level_2_split_*_[xy].h5"))) == 6
