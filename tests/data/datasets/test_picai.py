# SPDX-License-Identifier: Apache-2.0
import logging
import os
import re
import shutil
from pathlib import Path

import pytest
import SimpleITK
from crafted_picai import GLANDS, LESIONS, MARKSHEET, CraftedStudy, write_mask

from medti_components.data.datasets.picai import PicaiCases, concept_labels
from medti_components.data.datasets.splits import SPLITS, Sizes, check_patients_apart
from medti_components.errors import ConfigError, DataError

NEGATIVE, POSITIVE = "<prostate_mri_negative>", "<prostate_mri_positive>"
EXPERT = {"human_expert/resampled": 3}
REAL = Path(os.environ.get("MEDTI_REAL_DATA", Path(__file__).parents[4] / "shared" / "data")) / "picai"


def negatives(count, first=10000):
    return [CraftedStudy(str(first + index), str(1000000 + first + index), False) for index in range(count)]


def positives(count, first=11000, **kwargs):
    kwargs.setdefault("lesions", EXPERT)
    return [CraftedStudy(str(first + index), str(1000000 + first + index), True, **kwargs) for index in range(count)]


def listed(
    folder,
    num_cases=1,
    num_validation_cases=0,
    split="training",
    concepts=(NEGATIVE, POSITIVE),
    seed=0,
    num_test_cases=None,
    **kwargs,
):
    sizes = Sizes(num_cases, num_validation_cases, num_test_cases)
    return PicaiCases(folder, concepts, **kwargs).drawn(split, sizes, seed)


def test_entries_name_files_and_case(crafted_picai):
    folder = crafted_picai([*negatives(1), *positives(1)])
    negative, positive = listed(folder)
    name = "11000_1011000"
    assert positive == {
        "t2w": str(folder / f"images/11000/{name}_t2w.mha"),
        "adc": str(folder / f"images/11000/{name}_adc.mha"),
        "hbv": str(folder / f"images/11000/{name}_hbv.mha"),
        "gland": str(folder / GLANDS / f"AI/Bosma22b/{name}.nii.gz"),
        "lesion": str(folder / LESIONS / f"human_expert/resampled/{name}.nii.gz"),
        "mask": str(folder / LESIONS / f"human_expert/resampled/{name}.nii.gz"),
        "mask_source": "human_expert/resampled",
        "label": 1,
        "concept": POSITIVE,
        "patient_id": "11000",
        "study_id": "1011000",
    }
    assert (negative["label"], negative["concept"], negative["lesion"]) == (0, NEGATIVE, None)
    assert negative["mask"] == negative["gland"]


def test_human_masks_come_before_those_by_ai_and_the_newest_first_after_resampled_ones(crafted_picai):
    human = ["resampled", "Later27", "Pooch25", "original"]
    order = [*(f"human_expert/{name}" for name in human), "AI/Later30", "AI/Bosma22a"]
    studies = [
        CraftedStudy(str(number), "1", True, dict.fromkeys(reversed(order[number:]), 1)) for number in range(len(order))
    ]
    entries = listed(crafted_picai(studies), num_cases=len(order), concepts=[POSITIVE])
    assert {int(entry["patient_id"]): entry["mask_source"] for entry in entries} == dict(enumerate(order))
    assert all(entry["mask"] == entry["lesion"] and entry["mask_source"] in entry["mask"] for entry in entries)


def test_empty_lesion_masks_are_passed_over(crafted_picai):
    lesions = {"human_expert/resampled": 0, "human_expert/Pooch25": 1, "AI/Bosma22a": 1}
    (entry,) = listed(crafted_picai([CraftedStudy("4", "4", True, lesions)]), concepts=[POSITIVE])
    assert entry["mask_source"] == "human_expert/Pooch25"


def test_gland_masks_are_taken_in_order_whoever_made_them(crafted_picai):
    order = ["human_expert/Someone28", "AI/Bosma22b", "AI/Later29", "AI/Guerbet23"]
    studies = [CraftedStudy(str(number), "1", False, glands=tuple(order[number:])) for number in range(len(order))]
    entries = listed(crafted_picai(studies), num_cases=len(order), concepts=[NEGATIVE])
    assert {int(entry["patient_id"]): entry["mask_source"] for entry in entries} == dict(enumerate(order))
    assert all(entry["mask"] == entry["gland"] for entry in entries)


def test_splits_share_no_patient(crafted_picai):
    studies = [*negatives(12), *positives(12)]
    studies += [
        CraftedStudy(study.patient_id, f"9{study.study_id}", study.is_positive, study.lesions) for study in studies[::3]
    ]
    folder = crafted_picai(studies)
    for seed in range(3):
        splits = {split: listed(folder, 8, 3, split, seed=seed) for split in SPLITS}
        check_patients_apart(splits)
        assert [sum(entry["concept"] == POSITIVE for entry in splits[split]) for split in SPLITS[:2]] == [8, 3]
        assert [entry["concept"] for entry in splits["training"]] == [NEGATIVE] * 8 + [POSITIVE] * 8


def test_fewer_cases_are_the_first_of_more(crafted_picai):
    folder = crafted_picai([*negatives(9), *positives(9)])
    many = [entry["patient_id"] for entry in listed(folder, 6, 2) if entry["label"]]
    few = [entry["patient_id"] for entry in listed(folder, 3, 2) if entry["label"]]
    assert few == many[:3]
    assert many != [entry["patient_id"] for entry in listed(folder, 6, 2, seed=1) if entry["label"]]


def test_patients_with_both_findings_are_positive_alone(crafted_picai):
    studies = [*positives(2), CraftedStudy("11000", "1", False), *negatives(1)]
    entries = listed(crafted_picai(studies), 0, split="test")
    assert [(entry["patient_id"], entry["label"]) for entry in entries if entry["patient_id"] == "11000"] == [
        ("11000", 1)
    ]
    assert len(entries) == 3


def test_studies_that_were_not_downloaded_are_no_error(crafted_picai):
    absent = CraftedStudy("1", "1", False, sequences=())
    assert len(listed(crafted_picai([absent, *negatives(2)]), 2, concepts=[NEGATIVE])) == 2


def test_positive_study_with_empty_masks_alone_is_left_out(crafted_picai):
    folder = crafted_picai([*positives(2), *positives(1, first=12000, lesions={"human_expert/resampled": 0})])
    assert {entry["patient_id"] for entry in listed(folder, 2, concepts=[POSITIVE])} == {"11000", "11001"}
    with pytest.raises(
        DataError,
        match=r"^concept '<prostate_mri_positive>' has 2 cases \(left out: 1 positive ones with empty lesion masks\), "
        "num_cases asks for 3: lower --num_cases$",
    ):
        listed(folder, 3, concepts=[POSITIVE])


def test_a_repaired_mask_is_read_again(crafted_picai):
    folder = crafted_picai(positives(1, lesions={"human_expert/resampled": 0}))
    with pytest.raises(DataError, match="has no cases"):
        listed(folder, concepts=[POSITIVE])
    mask = folder / LESIONS / "human_expert/resampled/11000_1011000.nii.gz"
    write_mask(mask, 4)
    os.utime(mask, ns=(1, 1))
    assert len(listed(folder, concepts=[POSITIVE])) == 1


@pytest.mark.parametrize("sequence", ["t2w", "adc", "hbv"])
def test_missing_modality_is_named(crafted_picai, sequence):
    folder = crafted_picai([*negatives(3), *positives(1)])
    path = folder / f"images/10001/10001_1010001_{sequence}.mha"
    path.unlink()
    expected = (
        f"study '10001_1010001' has no {sequence.upper()} volume '{path}': download it, or leave such studies out by"
    )
    with pytest.raises(DataError, match=f"^{re.escape(expected)} --skip_unreadable true$"):
        listed(folder, 1)


def test_missing_lesion_mask_is_named(crafted_picai):
    folder = crafted_picai([*positives(2), *positives(2, first=12000, lesions={})])
    with pytest.raises(
        DataError,
        match=r"^study '12000_1012000' has no lesion mask '12000_1012000.nii.gz' in "
        r"'picai_labels/csPCa_lesion_delineations' \(1 more studies lack files\): ",
    ):
        listed(folder, 1, concepts=[POSITIVE])


def test_missing_gland_mask_is_named(crafted_picai):
    folder = crafted_picai([CraftedStudy("1", "2", False, glands=())])
    with pytest.raises(DataError, match=r"^study '1_2' has no gland mask '1_2.nii.gz' in '.*whole_gland': "):
        listed(folder, 1, concepts=[NEGATIVE])


def test_incomplete_studies_are_skipped_and_counted_on_request(crafted_picai, caplog):
    folder = crafted_picai([*negatives(4), *positives(1)])
    (folder / "images/10001/10001_1010001_adc.mha").unlink()
    with caplog.at_level(logging.WARNING):
        entries = listed(folder, 3, concepts=[NEGATIVE], skip_unreadable=True)
    assert {entry["patient_id"] for entry in entries} == {"10000", "10002", "10003"}
    assert "study '10001_1010001' is left out: it has no ADC volume" in caplog.text
    # One case short since one was skipped: go on with what there is.
    with caplog.at_level(logging.WARNING):
        assert len(listed(folder, 4, concepts=[NEGATIVE], skip_unreadable=True)) == 3
    assert "has 3 cases (left out: 1 without or with unreadable files), num_cases asks for 4" in caplog.text
    with pytest.raises(DataError, match="num_cases asks for 5: lower --num_cases$"):
        listed(folder, 5, concepts=[NEGATIVE], skip_unreadable=True)


def test_unreadable_lesion_mask_is_named_or_skipped(crafted_picai, caplog):
    folder = crafted_picai(positives(3))
    mask = folder / LESIONS / "human_expert/resampled/11001_1011001.nii.gz"
    mask.write_bytes(mask.read_bytes()[:30])
    with pytest.raises(DataError, match=f"^'{re.escape(str(mask))}' is unreadable or truncated"):
        listed(folder, 3, concepts=[POSITIVE])
    with caplog.at_level(logging.WARNING):
        assert len(listed(folder, 3, concepts=[POSITIVE], skip_unreadable=True)) == 2
    assert "study '11001_1011001' is left out" in caplog.text


def test_too_few_cases(crafted_picai):
    folder = crafted_picai([*negatives(4), *positives(4)])
    with pytest.raises(
        DataError, match=f"^concept '{NEGATIVE}' has 4 cases, num_cases asks for 100: lower --num_cases$"
    ):
        listed(folder, 100)
    with pytest.raises(
        DataError,
        match=f"^concept '{NEGATIVE}' has 4 cases, num_cases asks for 3 and num_validation_cases for 2: "
        "lower --num_cases or --num_validation_cases$",
    ):
        listed(folder, 3, 2)
    with pytest.raises(
        DataError,
        match=f"^concept '{NEGATIVE}' has 1 cases left for test, 2 are asked for: "
        "lower --num_cases or --num_validation_cases$",
    ):
        listed(folder, 2, 1, "test", num_test_cases=2)
    assert len(listed(folder, 2, 1, "test")) == 2  # one of each concept


def test_empty_concept(crafted_picai):
    folder = crafted_picai(negatives(2))
    with pytest.raises(
        DataError,
        match=rf"^concept '{POSITIVE}' has no cases in '.*' \(2 rows of 'marksheet.csv', 2 with a case_csPCa, 2 with "
        r"images, 0 with case_csPCa YES\): add studies, or drop the concept from --concepts$",
    ):
        listed(folder, 1)


def with_label(folder, row, text):
    """Write another ``case_csPCa`` into a row of the marksheet, counted from 0."""
    lines = (folder / MARKSHEET).read_text().splitlines()
    lines[row + 1] = ",".join([*lines[row + 1].split(",")[:2], text])
    (folder / MARKSHEET).write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(("text", "label"), [("yes", 1), ("Yes", 1), (" YES ", 1), ("no", 0), ("No", 0)])
def test_case_cspca_is_read_in_any_case(crafted_picai, text, label):
    folder = with_label(crafted_picai([*positives(2), *negatives(1)]), 0, text)
    labels = {entry["patient_id"]: entry["label"] for entry in listed(folder, 0, split="test")}
    assert labels["11000"] == label


@pytest.mark.parametrize("text", ["1", "TRUE", "Positive", "y", "0", "N/A"])
def test_another_case_cspca_is_an_error_that_names_row_and_value(crafted_picai, text):
    folder = with_label(crafted_picai([*negatives(2), *positives(1)]), 1, text)
    expected = f"marksheet.csv' row 3 has '{text}' in column 'case_csPCa', must be YES, NO or blank: correct it"
    with pytest.raises(DataError, match=f"{re.escape(expected)}$"):
        listed(folder, 1)


@pytest.mark.parametrize("text", ["", "  "])
def test_a_study_with_a_blank_case_cspca_is_left_out_and_counted(crafted_picai, text, caplog):
    folder = with_label(crafted_picai([*positives(2), *negatives(1)]), 0, text)
    with caplog.at_level(logging.INFO):
        entries = listed(folder, 0, split="test")
    assert sorted(entry["patient_id"] for entry in entries) == ["10000", "11001"]
    assert "3 rows of 'marksheet.csv', 2 with a case_csPCa, 2 with images" in caplog.text
    with_label(with_label(folder, 1, ""), 2, "")
    with pytest.raises(DataError, match=r"\(3 rows of 'marksheet.csv', 0 with a case_csPCa\): fill in case_csPCa in '"):
        listed(folder, 1)


def test_missing_folders_and_columns(tmp_path):
    with pytest.raises(
        DataError, match="^dataset_dir '.*absent' does not exist: set --dataset_dir to a folder with PI-CAI's"
    ):
        listed(tmp_path / "absent")
    for path in ("images", "picai_labels", str(MARKSHEET)):
        with pytest.raises(DataError, match=f"^dataset_dir '.*' has no '{path}': set --dataset_dir to a folder with"):
            listed(tmp_path)
        if path != str(MARKSHEET):
            (tmp_path / path).mkdir()
    (tmp_path / MARKSHEET).parent.mkdir(parents=True)
    (tmp_path / MARKSHEET).write_text("patient_id,study_id\n")
    with pytest.raises(
        DataError, match="^'.*marksheet.csv' has no column 'case_csPCa': download PI-CAI's marksheet again$"
    ):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_cases": -1}, "num_cases must be a whole number of at least 0, got -1: correct --num_cases"),
        ({"num_validation_cases": 1.5}, "num_validation_cases must be a whole number of at least 0, got 1.5: correct"),
        ({"concepts": []}, r"concepts must name at least one token, got \[\]: set --concepts"),
        (
            {"concepts": ["<a>"]},
            "concepts of PI-CAI must end in 'negative>' or 'positive>', got '<a>': correct --concepts",
        ),
    ],
)
def test_keys_that_do_not_fit(crafted_picai, change, message):
    folder = crafted_picai([*negatives(1), *positives(1)])
    with pytest.raises(ConfigError, match=f"^{message}"):
        listed(folder, **change)


def test_one_concept_may_be_a_string():
    assert concept_labels(POSITIVE) == {POSITIVE: 1}


def test_phantoms_are_listed(phantom_picai):
    splits = {split: listed(phantom_picai, 2, 1, split) for split in ("training", "validation")}
    check_patients_apart(splits)
    assert [len(entries) for entries in splits.values()] == [4, 2]


@pytest.mark.skipif(not REAL.is_dir(), reason="real studies are not here")
def test_real_studies_show_gland_and_lesion(preprocessing):
    negative, positive = listed(REAL, 1)
    assert (negative["study_id"], positive["study_id"]) == ("1000811", "1001396")
    for entry in (negative, positive):
        image = preprocessing(64)(entry)["image"]
        assert tuple(image.shape) == (3, 64, 64)
        assert -1 <= float(image.min()) < float(image.max()) <= 1
    assert SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(positive["lesion"])).max() == 3  # the grade


def test_moved_data_set_gives_the_same_split(crafted_picai, tmp_path):
    folder = crafted_picai([*negatives(6), *positives(6)])
    before = [entry["patient_id"] for entry in listed(folder, 3)]
    moved = Path(shutil.move(folder, tmp_path / "moved"))
    assert [entry["patient_id"] for entry in listed(moved, 3)] == before


@pytest.mark.parametrize("place", ["images/public_images_fold0", "picai_public_images_fold0"])
def test_studies_are_found_in_the_folders_of_the_archives(crafted_picai, place):
    folder = crafted_picai([*negatives(1), *positives(1)])
    (folder / place).mkdir()
    (folder / "images" / "10000").rename(folder / place / "10000")
    if not place.startswith("images"):
        (folder / "picai_public_images_fold1").mkdir()
        (folder / "images" / "11000").rename(folder / "picai_public_images_fold1" / "11000")
        (folder / "images").rmdir()
    negative, positive = listed(folder)
    assert negative["t2w"] == str(folder / place / "10000" / "10000_1010000_t2w.mha")
    assert Path(positive["adc"]).is_file()


def test_volumes_may_be_nifti(crafted_picai):
    folder = crafted_picai(negatives(1))
    for path in (folder / "images" / "10000").iterdir():
        path.rename(path.with_suffix(".nii.gz"))
    (entry,) = listed(folder, concepts=[NEGATIVE])
    assert entry["hbv"] == str(folder / "images/10000/10000_1010000_hbv.nii.gz")


def test_a_volume_that_is_there_twice_is_an_error(crafted_picai):
    folder = crafted_picai(negatives(1))
    path = folder / "images" / "10000" / "10000_1010000_adc.mha"
    path.with_suffix(".nii.gz").touch()
    expected = f"'{path}' and '{path.with_suffix('.nii.gz')}' are both the ADC volume of study '10000_1010000': "
    with pytest.raises(DataError, match=f"^{re.escape(expected)}"):
        listed(folder, concepts=[NEGATIVE])


def test_ids_that_a_spreadsheet_made_numbers_of_are_read(crafted_picai):
    folder = crafted_picai(negatives(1))
    table = (folder / MARKSHEET).read_text()
    (folder / MARKSHEET).write_text(table.replace("10000,1010000", "10000.0, 1010000.0"))
    (entry,) = listed(folder, concepts=[NEGATIVE])
    assert (entry["patient_id"], entry["study_id"]) == ("10000", "1010000")


def test_no_study_with_images_tells_the_counts_and_where_they_are_looked_for(crafted_picai):
    folder = crafted_picai([CraftedStudy("1", "1", False, sequences=()), *positives(1, sequences=())])
    expected = "(2 rows of 'marksheet.csv', 2 with a case_csPCa, 0 with images): set --dataset_dir to the folder whose"
    with pytest.raises(DataError, match=re.escape(expected)):
        listed(folder)


def test_counts_tell_what_each_filter_leaves_and_what_was_left_out_of_the_drawn(crafted_picai):
    studies = [*positives(2), *positives(1, first=12000, lesions={"human_expert/resampled": 0}), *negatives(2)]
    absent, both = CraftedStudy("1", "1", False, sequences=()), CraftedStudy("11000", "2", False)
    cases = PicaiCases(with_label(crafted_picai([*studies, absent, both]), 3, ""), [NEGATIVE, POSITIVE])
    cases.drawn("test", Sizes(0, 0), 0)
    table = "7 rows of 'marksheet.csv', 6 with a case_csPCa, 5 with images"
    assert cases.counts() == [
        f"{NEGATIVE}: {table}, 2 with case_csPCa NO, 1 of patients without a positive study",
        f"{POSITIVE}: {table}, 3 with case_csPCa YES (left out: 1 positive ones with empty lesion masks)",
    ]


@pytest.mark.parametrize("label", ["YES", "NO"])
def test_a_study_that_is_twice_in_the_marksheet_is_an_error(crafted_picai, label):
    folder = crafted_picai(positives(2))
    with open(folder / MARKSHEET, "a") as file:
        file.write(f"11000.0,1011000,{label}\n")
    with pytest.raises(
        DataError, match=r"csv' row 2 and '.*csv' row 4 are both of '11000_1011000': remove one of them$"
    ):
        listed(folder)
