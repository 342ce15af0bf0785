# SPDX-License-Identifier: Apache-2.0
import logging
import re
from pathlib import Path

import pytest
from crafted_radiographs import chexpert_row, write_chexpert

from medti_components.data.datasets.chexpert import read_chexpert
from medti_components.data.datasets.radiograph_cases import RadiographCases
from medti_components.data.datasets.radiographs import FINDINGS
from medti_components.data.datasets.splits import SPLITS, Sizes, check_patients_apart
from medti_components.errors import ConfigError, DataError

HEALTHY, LARGE_HEART, EFFUSION, PNEUMONIA = (f"<chest_xray_{finding}>" for finding in FINDINGS)


def listed(
    folder, concepts, num_cases=1, num_validation_cases=0, split="training", seed=0, num_test_cases=None, **kwargs
):
    sizes = Sizes(num_cases, num_validation_cases, num_test_cases)
    return RadiographCases(folder, "chexpert", concepts, **kwargs).drawn(split, sizes, seed)


def patients(entries):
    return sorted(int(entry["patient_id"].removeprefix("patient")) for entry in entries)


def test_entries_name_file_and_case(tmp_path):
    folder = write_chexpert(tmp_path / "any_name", [chexpert_row(7, study=2, pleural=1)])
    assert listed(folder, [EFFUSION]) == [
        {
            "image": str(folder / "train/patient00007/study2/view1_frontal.jpg"),
            "label": 2,
            "findings": ["pleural_effusion"],
            "view": "AP",
            "concept": EFFUSION,
            "patient_id": "patient00007",
            "study_id": "patient00007_study2_view1_frontal",
        }
    ]


def test_the_folder_above_will_do(tmp_path):
    folder = write_chexpert(tmp_path / "CheXpert-v1.0-small", [chexpert_row(1, no=1)])
    assert listed(tmp_path, [HEALTHY]) == listed(folder, [HEALTHY])


def test_one_finding_alone_in_one_view_and_nothing_uncertain(tmp_path):
    rows = [
        chexpert_row(1, pneumonia=1),
        chexpert_row(2, pneumonia=1, pleural=0),
        chexpert_row(3, pneumonia=1, pleural=1),
        chexpert_row(4, pneumonia=1, cardiomegaly=-1),
        chexpert_row(5, pneumonia=-1),
        chexpert_row(6, pneumonia=0),
        chexpert_row(7, view="PA", pneumonia=1),
        chexpert_row(8, view="", pneumonia=1),
        chexpert_row(9, view="LL", pneumonia=1),
    ]
    rows[0]["Edema"], rows[0]["Atelectasis"] = "1.0", "-1.0"  # findings that no concept is about
    folder = write_chexpert(tmp_path / "data", rows)
    whole = {"num_cases": 0, "split": "test"}
    assert patients(listed(folder, [PNEUMONIA], **whole)) == [1, 2]
    assert patients(listed(folder, [PNEUMONIA], views=["PA"], **whole)) == [7]
    assert patients(listed(folder, [PNEUMONIA], views=["AP", "PA"], **whole)) == [1, 2, 7]
    both = listed(folder, [PNEUMONIA], single_finding=False, **whole)
    assert patients(both) == [1, 2, 3]
    assert ["pleural_effusion", "pneumonia"] in [entry["findings"] for entry in both]


def test_a_patient_counts_for_the_rarest_of_its_concepts(tmp_path):
    rows = [chexpert_row(patient, no=1) for patient in range(1, 6)]
    rows += [chexpert_row(5, study=2, pneumonia=1), chexpert_row(6, study=1, pneumonia=1)]
    folder = write_chexpert(tmp_path / "data", rows)
    entries = listed(folder, [HEALTHY, PNEUMONIA], 0, split="test")
    assert patients(entry for entry in entries if entry["concept"] == HEALTHY) == [1, 2, 3, 4]
    assert patients(entry for entry in entries if entry["concept"] == PNEUMONIA) == [5, 6]
    with pytest.raises(
        DataError,
        match=rf"^concept '{HEALTHY}' has 4 cases \(left out: 1 of patients with a rarer concept\), num_cases asks "
        "for 5: lower --num_cases$",
    ):
        listed(folder, [HEALTHY, PNEUMONIA], 5)


def test_splits_share_no_patient(tmp_path):
    names = ("no", "cardiomegaly", "pleural", "pneumonia")
    rows = [
        chexpert_row(patient, study=study, **{names[(patient + study * (patient % 3 == 0)) % 4]: 1})
        for patient in range(60)
        for study in (1, 2)
    ]
    folder = write_chexpert(tmp_path / "data", rows)
    for seed in range(3):
        splits = {
            split: listed(folder, [HEALTHY, LARGE_HEART, EFFUSION, PNEUMONIA], 8, 4, split, seed) for split in SPLITS
        }
        check_patients_apart(splits)
        assert [len(splits[split]) for split in SPLITS[:2]] == [32, 16]
        assert [entry["label"] for entry in splits["training"]] == [0] * 8 + [1] * 8 + [2] * 8 + [3] * 8
        fewer = listed(folder, [HEALTHY, LARGE_HEART, EFFUSION, PNEUMONIA], 3, 4, seed=seed)
        assert fewer[:3] == splits["training"][:3]
    assert splits["training"] != listed(folder, [HEALTHY, LARGE_HEART, EFFUSION, PNEUMONIA], 8, 4, seed=0)


def test_missing_images_are_named_or_left_out(tmp_path, caplog):
    folder = write_chexpert(tmp_path / "data", [chexpert_row(patient, no=1) for patient in range(4)])
    path = folder / "train/patient00002/study1/view1_frontal.jpg"
    path.unlink()
    with pytest.raises(
        DataError,
        match=f"^'{re.escape(str(path))}' of the table does not exist: download it, or leave such images out by "
        "--skip_unreadable true$",
    ):
        listed(folder, [HEALTHY], 4)
    with caplog.at_level(logging.WARNING):
        assert patients(listed(folder, [HEALTHY], 4, skip_unreadable=True)) == [0, 1, 3]
    assert f"'{path}' of the table does not exist and is left out" in caplog.text
    assert "has 3 cases (left out: 1 without or with unreadable files), num_cases asks for 4" in caplog.text


def test_too_few_cases(tmp_path):
    folder = write_chexpert(tmp_path / "data", [chexpert_row(patient, no=1) for patient in range(4)])
    with pytest.raises(DataError, match=f"^concept '{HEALTHY}' has 4 cases, num_cases asks for 9: lower --num_cases$"):
        listed(folder, [HEALTHY], 9)
    with pytest.raises(
        DataError, match=f"^concept '{PNEUMONIA}' has no cases in '.*data' .*: add studies, or drop the"
    ):
        listed(folder, [PNEUMONIA])
    with pytest.raises(DataError, match=f"^concept '{HEALTHY}' has 1 cases left for test, 2 are asked for: lower"):
        listed(folder, [HEALTHY], 2, 1, "test", num_test_cases=2)


def test_folders_without_a_table(tmp_path):
    with pytest.raises(DataError, match="^dataset_dir '.*absent' does not exist: set --dataset_dir to a folder with"):
        read_chexpert(tmp_path / "absent")
    with pytest.raises(
        DataError,
        match="^dataset_dir '.*' has no 'train.csv': set --dataset_dir to a folder with CheXpert's train.csv, or "
        "--dataset_format nih for NIH ChestX-ray14$",
    ):
        read_chexpert(tmp_path)
    for name in ("a", "b"):
        write_chexpert(tmp_path / name, [])
    expected = f"'{tmp_path / 'a/train.csv'}' and '{tmp_path / 'b/train.csv'}' are both tables of the data set: set "
    with pytest.raises(DataError, match=f"^{re.escape(expected)}--dataset_dir to the one that is meant$"):
        read_chexpert(tmp_path)
    assert read_chexpert(tmp_path / "b" / "train.csv")[0] == []


def test_tables_that_are_not_chexpert_s(tmp_path):
    table = tmp_path / "train.csv"
    table.write_text("Path,Frontal/Lateral\n")
    with pytest.raises(DataError, match="^'.*train.csv' has no column 'AP/PA': download CheXpert's table again$"):
        read_chexpert(tmp_path)
    row = chexpert_row(1, no=1) | {"Pneumonia": "yes"}
    write_chexpert(tmp_path, [row], with_images=False)
    with pytest.raises(
        DataError, match="train.csv' row 2 has 'yes' in column 'Pneumonia', must be 1, 0, -1 or blank: correct it$"
    ):
        read_chexpert(tmp_path)
    write_chexpert(tmp_path, [row | {"Path": "a.jpg", "Pneumonia": ""}], with_images=False)
    with pytest.raises(DataError, match=r"train.csv' row 2 has the Path 'a.jpg': download CheXpert's table again$"):
        read_chexpert(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"concepts": []}, r"concepts must name at least one token, got \[\]: set --concepts"),
        (
            {"concepts": ["<chest_xray_edema>"]},
            "concepts of chest radiographs must end in one of 'no_finding>', 'cardiomegaly>', 'pleural_effusion>', "
            "'pneumonia>', got '<chest_xray_edema>': correct --concepts",
        ),
        ({"views": ["LL"]}, r"views must be of 'AP' and 'PA', got \['LL'\]: set --views \"\['AP'\]\""),
        ({"views": []}, r"views must be of 'AP' and 'PA', got \[\]"),
    ],
)
def test_keys_that_do_not_fit(tmp_path, change, message):
    folder = write_chexpert(tmp_path / "data", [chexpert_row(1, no=1)])
    with pytest.raises(ConfigError, match=f"^{message}"):
        listed(folder, **{"concepts": [HEALTHY], **change})


def test_frontal_and_views_are_read_in_any_case(tmp_path):
    rows = [chexpert_row(1, no=1), chexpert_row(2, no=1), chexpert_row(3, view="", no=1), chexpert_row(4, no=1)]
    rows[0]["Frontal/Lateral"], rows[0]["AP/PA"] = "FRONTAL", "ap"
    rows[1]["Frontal/Lateral"], rows[1]["AP/PA"] = " frontal", "Ap "
    rows[3]["AP/PA"] = ""  # unknown, so that it is not chosen
    folder = write_chexpert(tmp_path / "data", rows)
    assert patients(listed(folder, [HEALTHY], 0, split="test")) == [1, 2]


@pytest.mark.parametrize(
    ("column", "text", "known"),
    [
        ("Frontal/Lateral", "Front", "Frontal, Lateral"),
        ("AP/PA", "anteroposterior", "AP, PA, LL, RL"),
        ("No Finding", "yes", "1, 0, -1"),
    ],
)
def test_another_text_is_an_error_that_names_row_and_value(tmp_path, column, text, known):
    folder = write_chexpert(tmp_path / "data", [chexpert_row(1, no=1), chexpert_row(2, no=1) | {column: text}])
    expected = f"train.csv' row 3 has '{text}' in column '{column}', must be {known} or blank: correct it"
    with pytest.raises(DataError, match=f"{re.escape(expected)}$"):
        listed(folder, [HEALTHY])


def test_no_image_in_the_view_tells_the_counts_and_the_views_that_there_are(tmp_path):
    folder = write_chexpert(tmp_path / "data", [chexpert_row(1, view="PA", no=1), chexpert_row(2, view="", no=1)])
    expected = "(2 rows of 'train.csv', 1 frontal, 0 in view AP): set --views \"['PA']\""
    with pytest.raises(DataError, match=f"{re.escape(expected)}$"):
        listed(folder, [HEALTHY])


def test_images_are_found_in_the_folders_of_the_batches(tmp_path):
    """The full-size release: a table and four folders whose names tell the batch, with patients right in them."""
    rows = [chexpert_row(patient, no=1) for patient in (1, 30000, 64534, 64741)]
    rows[3]["Path"] = rows[3]["Path"].replace("train/", "valid/")
    batches = ("batch 2 (train 1)", "batch 3 (train 2)", "batch 4 (train 3)", "batch 1 (validate & csv)/valid")
    folder = write_chexpert(tmp_path / "all", rows)
    paths = []
    for row, batch in zip(rows, batches, strict=True):
        paths.append(tmp_path / f"full/CheXpert-v1.0 {batch}" / "/".join(row["Path"].split("/")[2:]))
        paths[-1].parent.mkdir(parents=True)
        (folder / row["Path"].partition("/")[2]).rename(paths[-1])
    for place in ("full", "full/CheXpert-v1.0 batch 1 (validate & csv)"):
        (folder / "train.csv").rename(tmp_path / place / "train.csv")
        folder = tmp_path / place
        for given in {folder, tmp_path / "full", folder / "train.csv"}:
            entries = listed(given, [HEALTHY], 0, split="test")
            assert sorted(Path(entry["image"]).resolve() for entry in entries) == sorted(paths)


@pytest.mark.parametrize(
    "prefix", ["CheXpert-v1.0/train/", "train/", "", "CheXpert-v1.0\\train\\", "/data/chest/CheXpert-v1.0-small/train/"]
)
def test_what_stands_before_the_patient_in_the_table_does_not_matter(tmp_path, prefix):
    folder = write_chexpert(tmp_path / "data", [chexpert_row(1, no=1)])
    table = (folder / "train.csv").read_text()
    (folder / "train.csv").write_text(table.replace("CheXpert-v1.0-small/train/", prefix))
    if not prefix:
        (folder / "train" / "patient00001").rename(folder / "patient00001")
    (entry,) = listed(folder, [HEALTHY])
    assert Path(entry["image"]).is_file()
    assert (entry["patient_id"], entry["study_id"]) == ("patient00001", "patient00001_study1_view1_frontal")


def test_two_different_files_of_one_image_are_an_error(tmp_path):
    folder = write_chexpert(tmp_path / "data", [chexpert_row(1, no=1)])
    path = "patient00001/study1/view1_frontal.jpg"
    copy = folder / "CheXpert-v1.0 batch 2 (train 1)" / path
    copy.parent.mkdir(parents=True)
    copy.write_bytes((folder / "train" / path).read_bytes())
    assert listed(folder, [HEALTHY])[0]["image"] == str(folder / "train" / path)
    copy.write_bytes(b"another size")
    expected = f"'{folder / 'train' / path}' and '{copy}' are two files of one image: move one of them away"
    with pytest.raises(DataError, match=f"^{re.escape(expected)}$"):
        listed(folder, [HEALTHY])


def test_an_image_that_is_twice_in_the_table_is_an_error(tmp_path):
    folder = write_chexpert(tmp_path / "data", [chexpert_row(1, no=1), chexpert_row(1, pneumonia=1)])
    with pytest.raises(
        DataError, match=r"train.csv' row 2 and '.*train.csv' row 3 are both of 'CheXpert-v1.0-small/tr"
    ):
        listed(folder, [HEALTHY])
