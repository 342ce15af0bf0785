# SPDX-License-Identifier: Apache-2.0
import os
import re
from pathlib import Path

import pytest
from crafted_radiographs import write_nih
from PIL import Image

from medti_components.data.datasets.nih_chest_xray import read_nih_chest_xray
from medti_components.data.datasets.radiograph_cases import RadiographCases
from medti_components.data.datasets.radiographs import FINDINGS
from medti_components.data.datasets.splits import Sizes, check_patients_apart
from medti_components.errors import ConfigError, DataError

CONCEPTS = HEALTHY, LARGE_HEART, EFFUSION, PNEUMONIA = [f"<chest_xray_{finding}>" for finding in FINDINGS]
REAL = Path(os.environ.get("MEDTI_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
ROWS = [
    ("00000001_000.png", "No Finding", 1, "AP"),
    ("00000002_000.png", "Effusion|Infiltration", 2, "AP"),
    ("00000003_000.png", "Cardiomegaly|Effusion", 3, "AP"),
    ("00000004_000.png", "Cardiomegaly", 4, "PA"),
    ("00000005_000.png", "Pneumonia", 5, "AP"),
    ("00000006_000.png", "Pneumothorax", 6, "AP"),
]


def listed(folder, concepts, num_cases=0, num_validation_cases=0, split="test", **kwargs):
    return RadiographCases(folder, "nih", concepts, **kwargs).drawn(split, Sizes(num_cases, num_validation_cases), 0)


@pytest.mark.parametrize("image_folder", ["images", "images_003/images"])
def test_images_are_found_as_the_archives_unpack(tmp_path, image_folder):
    folder = write_nih(tmp_path, ROWS, image_folder)
    entries = listed(folder, [HEALTHY, EFFUSION, PNEUMONIA])
    assert [(Path(entry["image"]).stem, entry["label"]) for entry in entries] == [
        ("00000001_000", 0),
        ("00000002_000", 2),
        ("00000005_000", 3),
    ]
    assert all(Path(entry["image"]).is_file() for entry in entries)
    assert (entries[1]["patient_id"], entries[1]["study_id"], entries[1]["view"]) == ("2", "00000002_000", "AP")


def test_views_and_several_findings(tmp_path):
    folder = write_nih(tmp_path, ROWS)
    assert [entry["patient_id"] for entry in listed(folder, [LARGE_HEART], views=["AP", "PA"])] == ["4"]
    assert [entry["patient_id"] for entry in listed(folder, [LARGE_HEART], single_finding=False)] == ["3"]


def test_excerpts_have_their_own_table(tmp_path):
    (tmp_path / "train").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "train" / "a.png")
    (tmp_path / "labels.csv").write_text(
        "path,finding_labels,view,age,patient_id\ntrain/a.png,Pneumonia|Mass,AP,33,12\n"
    )
    (entry,) = listed(tmp_path, [PNEUMONIA], num_cases=1, split="training")
    assert (entry["image"], entry["patient_id"]) == (str(tmp_path / "train" / "a.png"), "12")


def test_missing_image_is_named(tmp_path):
    folder = write_nih(tmp_path, ROWS)
    (folder / "images" / "00000005_000.png").unlink()
    with pytest.raises(DataError, match=r"^'.*images/00000005_000.png' of the table does not exist: download it, or"):
        listed(folder, [PNEUMONIA])
    assert len(listed(folder, [PNEUMONIA, HEALTHY], skip_unreadable=True, split="training", num_cases=0)) == 0


def test_tables_that_do_not_fit(tmp_path):
    with pytest.raises(DataError, match="^dataset_dir '.*absent' does not exist: set --dataset_dir to a folder with"):
        read_nih_chest_xray(tmp_path / "absent")
    with pytest.raises(
        DataError,
        match=r"^dataset_dir '.*' has no 'Data_Entry_\*.csv' or 'labels.csv': set --dataset_dir to a folder with NIH "
        r"ChestX-ray14's Data_Entry_2017.csv, or --dataset_format chexpert for CheXpert$",
    ):
        read_nih_chest_xray(tmp_path)
    (tmp_path / "Data_Entry_2017.csv").write_text("Image Index,Patient ID\n")
    with pytest.raises(DataError, match=r"2017.csv' has no column 'Finding Labels': download NIH's table again$"):
        read_nih_chest_xray(tmp_path)


def test_other_data_sets_are_refused():
    with pytest.raises(
        ConfigError, match=r"^dataset_format must be 'chexpert' or 'nih', got 'mimic': correct --dataset_format$"
    ):
        RadiographCases("data", "mimic", CONCEPTS)


@pytest.mark.skipif(not (REAL / "nih_chest_xray").is_dir(), reason="real radiographs are not here")
@pytest.mark.parametrize("name", ["nih_chest_xray", "nih_chest_xray_64px"])
def test_real_radiographs_become_images(name, chest_preprocessing):
    concepts = [HEALTHY, PNEUMONIA] if name == "nih_chest_xray" else CONCEPTS
    splits = {
        split: listed(REAL / name, concepts, num_cases=2, num_validation_cases=1, split=split, views=["AP", "PA"])
        for split in ("training", "validation", "test")
    }
    check_patients_apart(splits)
    assert [len(splits[split]) for split in ("training", "validation")] == [2 * len(concepts), len(concepts)]
    for entry in splits["validation"]:
        image = chest_preprocessing(64)(entry)["image"]
        assert tuple(image.shape) == (3, 64, 64)
        assert -1 <= float(image.min()) < float(image.max()) <= 1
        assert (image[0] == image[1]).all() and (image[0] == image[2]).all()


def test_findings_and_views_are_read_in_any_case(tmp_path):
    rows = [("1.png", "no finding", 1, "ap"), ("2.png", "EFFUSION| mass", 2, "Ap"), ("3.png", "", 3, "AP")]
    entries = listed(write_nih(tmp_path, rows), [HEALTHY, EFFUSION])
    assert [(entry["patient_id"], entry["label"]) for entry in entries] == [("1", 0), ("2", 2)]


def test_rows_without_labels_or_patient_are_left_out_and_counted(tmp_path):
    rows = [("1.png", "No Finding", 1, "AP"), ("2.png", "Mass", "", "AP"), ("3.png", "", 3, "AP")]
    images, counts = read_nih_chest_xray(write_nih(tmp_path, rows))
    assert [image.patient_id for image in images] == ["1"]
    assert str(counts) == "3 rows of 'Data_Entry_2017.csv', 2 with labels, 1 with a patient"


@pytest.mark.parametrize(
    ("findings", "view", "message"),
    [
        ("Effusion|Pneumonie", "AP", "has 'Pneumonie' in column 'Finding Labels', must be No Finding, "),
        ("Effusion", "lateral", "has 'lateral' in column 'View Position', must be AP, PA or blank: correct it"),
    ],
)
def test_another_text_is_an_error_that_names_row_and_value(tmp_path, findings, view, message):
    folder = write_nih(tmp_path, [*ROWS[:1], ("2.png", findings, 2, view)])
    with pytest.raises(DataError, match=f"Data_Entry_2017.csv' row 3 {re.escape(message)}"):
        listed(folder, [EFFUSION])


@pytest.mark.parametrize("name", ["Data_Entry_2017_v2020.csv", "labels.csv"])
def test_between_two_tables_the_user_chooses(tmp_path, name):
    """The 2020 release corrected labels of the 2017 one."""
    folder = write_nih(tmp_path, ROWS)
    columns = "path,finding_labels,patient_id,view" if name == "labels.csv" else ""
    table = (folder / "Data_Entry_2017.csv").read_text().replace("Pneumonia", "Mass")
    lines = ["images/1.png,Mass,1,AP"] if columns else table.splitlines()[1:]
    (folder / name).write_text("\n".join([columns or table.splitlines()[0], *lines]) + "\n")
    expected = f"'{folder / 'Data_Entry_2017.csv'}' and '{folder / name}' are both tables of the data set: set "
    with pytest.raises(DataError, match=f"^{re.escape(expected)}--dataset_dir to the one that is meant$"):
        listed(folder, [PNEUMONIA])
    (entry,) = listed(folder / "Data_Entry_2017.csv", [PNEUMONIA])
    assert Path(entry["image"]).is_file()
    with pytest.raises(DataError, match=rf"rows of '{name}', .* 0 with pneumonia\)"):
        listed(folder / name, [PNEUMONIA])
