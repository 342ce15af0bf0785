# SPDX-License-Identifier: Apache-2.0
"""What is made from phantoms says phantoms: by a file in their folder."""

import json

import pytest

import medti_components
from medti_components.data.phantoms.chest_phantom import write_chest_studies
from medti_components.data.phantoms.histology_phantom import write_histology_patches
from medti_components.data.phantoms.phantom_marker import data_terms, phantoms_in
from medti_components.data.phantoms.prostate_phantom import write_prostate_studies
from medti_components.errors import DataError

VERSION = medti_components.__version__


def prostate(folder, seed):
    write_prostate_studies(folder, 1, 0, seed, show_progress=False)


def chest(folder, seed):
    write_chest_studies(folder, {"no_finding": 1}, seed, show_progress=False)


def histology(folder, seed):
    write_histology_patches(folder, 1, 1, seed, show_progress=False)


@pytest.mark.parametrize(
    ("draw", "kind"), [(prostate, "prostate_mri"), (chest, "chest_xray"), (histology, "histopathology")]
)
def test_a_folder_of_phantoms_names_generator_seeds_and_version(tmp_path, draw, kind):
    draw(tmp_path, 3)
    content = json.loads((tmp_path / "phantoms.json").read_text())
    assert (content["generator"], content["seeds"], content["version"]) == (f"medti phantoms {kind}", [3], VERSION)
    draw(tmp_path, 4)
    said = f"phantoms (medti phantoms {kind} {VERSION}, seed 3, 4)"
    assert phantoms_in(tmp_path) == data_terms(tmp_path, "CC BY-NC 4.0") == said


def test_the_folder_within_that_of_phantom_radiographs_is_one_of_phantoms(tmp_path):
    chest(tmp_path, 0)
    assert phantoms_in(tmp_path / "CheXpert-v1.0-phantom").startswith("phantoms (medti phantoms chest_xray")


def test_images_of_patients_keep_their_terms(tmp_path):
    assert data_terms(tmp_path, "CC BY-NC 4.0") == "CC BY-NC 4.0"


def test_images_that_were_added_to_phantoms_are_not_called_phantoms(tmp_path):
    chest(tmp_path, 0)
    (tmp_path / "scan.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"must hold the 1 files of its phantoms alone, got 2: take the others out, or re"
    ):
        phantoms_in(tmp_path)


def test_a_damaged_marker_is_told(tmp_path):
    (tmp_path / "phantoms.json").write_text("{")
    with pytest.raises(DataError, match=r"phantoms.json' can't be read .*: draw the phantoms again"):
        phantoms_in(tmp_path)
