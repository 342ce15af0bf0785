# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import pytest
from generated_runs import random_pixels, write_run
from PIL import Image

from medti_components.data.classification.classification_input import ClassificationInput
from medti_components.errors import ConfigError, DataError


def write_study(folder, name, sequences=("t2w", "adc", "hbv")):
    folder.mkdir(parents=True, exist_ok=True)
    for sequence in sequences:
        (folder / f"{name}_{sequence}.mha").touch()


def write_gland(root, name):
    folder = root / "picai_labels" / "anatomical_delineations" / "whole_gland" / "AI" / "Bosma22b"
    folder.mkdir(parents=True)
    (folder / f"{name}.nii.gz").touch()


def test_generating_run_has_its_pictures_in_the_order_of_its_lines(tmp_path) -> None:
    own = ClassificationInput(write_run(tmp_path, ["<a>", "<b>"]))
    assert own.format == "pictures"
    assert [entry["study_id"] for entry in own.datalist] == ["images/0.png", "images/1.png"]


@pytest.mark.parametrize(("dataset_format", "expected"), [("picai", "pictures"), ("pcam", "pictures"), ("nih", "nih")])
def test_folder_of_pictures(tmp_path, dataset_format, expected) -> None:
    for name in ("b.png", "a.JPG", "notes.txt"):
        Image.fromarray(random_pixels(0)).save(tmp_path / name, format="PNG")
    own = ClassificationInput(tmp_path, dataset_format)
    assert own.format == expected
    assert [entry["study_id"] for entry in own.datalist] == ["a.JPG", "b.png"]
    assert [entry["study_id"] for entry in ClassificationInput(tmp_path / "b.png").datalist] == ["b.png"]


def test_studies_of_a_data_set_with_and_without_the_gland_s_mask(tmp_path) -> None:
    write_study(tmp_path / "images" / "7", "7_70")
    write_study(tmp_path / "images" / "8", "8_80")
    write_gland(tmp_path, "7_70")
    for place in (tmp_path, tmp_path / "images"):
        own = ClassificationInput(place)
        assert own.format == "picai"
        assert [(entry["patient_id"], entry["study_id"]) for entry in own.datalist] == [("7", "70"), ("8", "80")]
        assert own.datalist[0]["mask"].endswith("7_70.nii.gz")
        assert own.datalist[1]["mask"] == own.datalist[1]["t2w"]
    (alone,) = ClassificationInput(tmp_path / "images" / "8" / "8_80_t2w.mha").datalist
    assert alone["adc"].endswith("8_80_adc.mha")


def test_study_without_a_sequence(tmp_path) -> None:
    write_study(tmp_path, "7_70", ["t2w", "adc"])
    with pytest.raises(DataError, match="study '7_70' has no HBV volume '.*7_70_hbv.mha': put it beside the others"):
        ClassificationInput(tmp_path)


def test_nothing_to_classify(tmp_path) -> None:
    message = f"dataset_dir '{tmp_path}' has no picture (.png, .jpg, .jpeg) and no study (<patient>_<study>_t2w.mha)"
    with pytest.raises(DataError, match=re.escape(message)):
        ClassificationInput(tmp_path)
    with pytest.raises(DataError, match="dataset_dir 'no/such/folder' does not exist: set --dataset_dir to pictures"):
        ClassificationInput("no/such/folder")
    with pytest.raises(ConfigError, match="dataset_format must be one of picai, chexpert, nih, pcam, got 'dicom'"):
        ClassificationInput(tmp_path, "dicom")


def test_studies_of_the_archives_and_nifti_volumes_are_found(tmp_path):
    for folder, suffix in (("images/fold0/7", ".mha"), ("8", ".nii.gz")):
        (tmp_path / folder).mkdir(parents=True)
        for sequence in ("t2w", "adc", "hbv"):
            (tmp_path / folder / f"{Path(folder).name}_1_{sequence}{suffix}").touch()
    entries = ClassificationInput(tmp_path).datalist
    assert [entry["patient_id"] for entry in entries] == ["7", "8"]
    (alone,) = ClassificationInput(tmp_path / "8" / "8_1_t2w.nii.gz").datalist
    assert alone["adc"] == str(tmp_path / "8" / "8_1_adc.nii.gz")
