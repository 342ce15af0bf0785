# SPDX-License-Identifier: Apache-2.0
import csv
import re

import numpy as np
import pytest
from PIL import Image

from medti_components.data.datasets.chexpert import COLUMNS, COLUMNS_OF_FINDINGS, read_chexpert
from medti_components.data.datasets.radiograph_cases import RadiographCases
from medti_components.data.datasets.radiographs import FINDINGS
from medti_components.data.datasets.splits import SPLITS, Sizes, check_patients_apart
from medti_components.data.phantoms.chest_phantom import FOLDER, PhantomCase, chest_phantom, write_chest_studies
from medti_components.errors import ConfigError, OutputError

NUM = 6


def drawn(kind, index, **kwargs):
    return chest_phantom(0, kind, index, () if kind == "no_finding" else (kind,), **kwargs)


@pytest.fixture(scope="module")
def phantoms():
    return {kind: [drawn(kind, index) for index in range(NUM)] for kind in FINDINGS}


def test_arguments_alone_decide(phantoms):
    phantom = phantoms["pneumonia"][2]
    assert np.array_equal(phantom.image, drawn("pneumonia", 2).image)
    for other in (chest_phantom(1, "pneumonia", 2, ("pneumonia",)), chest_phantom(0, "others", 2, ("pneumonia",))):
        assert other.image.shape != phantom.image.shape or not np.array_equal(other.image, phantom.image)


def test_second_study_of_a_patient_shows_the_same_anatomy_anew(phantoms):
    first, again = phantoms["cardiomegaly"][0], drawn("cardiomegaly", 1, patient_index=0)
    assert first.cardiothoracic_ratio == again.cardiothoracic_ratio
    assert first.is_female == again.is_female
    assert first.image.shape != again.image.shape or not np.array_equal(first.image, again.image)


def test_shorter_edge_is_that_of_chexpert_s_small_version_and_shapes_differ(phantoms):
    shapes = {phantom.image.shape for kind in FINDINGS for phantom in phantoms[kind]}
    assert {min(shape) for shape in shapes} == {320}
    assert len(shapes) > 10
    assert any(rows > columns for rows, columns in shapes)
    assert any(rows < columns for rows, columns in shapes)


def test_some_have_black_borders():
    images = [drawn("no_finding", index).image for index in range(20)]
    edges = [[image[0], image[-1], image[:, 0], image[:, -1]] for image in images]
    with_borders = sum(any(not edge.any() for edge in four) for four in edges)
    assert 3 < with_borders < 17


def test_lungs_are_dark_and_what_fills_them_is_bright(phantoms):
    for kind, finding in (("pleural_effusion", "effusion"), ("pneumonia", "opacity")):
        for phantom in phantoms[kind]:
            filled = getattr(phantom, finding)
            air = phantom.lungs & ~phantom.heart & ~filled
            assert phantom.image[filled].mean() > phantom.image[air].mean() + 45
            assert filled.sum() > 0.015 * phantom.lungs.sum()


def test_masks_hold_the_finding_that_is_shown(phantoms):
    for kind in FINDINGS:
        for phantom in phantoms[kind]:
            assert phantom.effusion.any() == (kind == "pleural_effusion")
            assert phantom.opacity.any() == (kind == "pneumonia")
            masks = (phantom.lungs, phantom.heart, phantom.effusion, phantom.opacity)
            assert {mask.shape for mask in masks} == {phantom.image.shape}
            assert {mask.dtype for mask in masks} == {np.dtype(bool)}


def test_heart_lies_on_the_left_of_the_patient_and_is_wide_where_it_is_large(phantoms):
    def widths(kind):
        for phantom in phantoms[kind]:
            heart = phantom.heart & phantom.lungs
            columns = np.nonzero(heart.any(axis=0))[0]
            lungs = np.nonzero(phantom.lungs.any(axis=0))[0]
            middle = (lungs[0] + lungs[-1]) / 2
            assert columns.mean() > middle  # the right of the image
            yield (columns[-1] - columns[0]) / (lungs[-1] - lungs[0])

    assert min(widths("cardiomegaly")) > max(widths("no_finding")) + 0.05


def test_brightness_does_not_tell_the_kind(phantoms):
    """Exposure is drawn alike for all: the spread within a kind is larger than the distance between kinds."""
    tenths = {kind: [np.percentile(phantom.image, 99) for phantom in phantoms[kind]] for kind in FINDINGS}
    means = [np.mean(values) for values in tenths.values()]
    assert max(means) - min(means) < 2 * np.mean([np.std(values) for values in tenths.values()])


def test_views_differ(phantoms):
    assert drawn("no_finding", 0, view="PA").image.shape == phantoms["no_finding"][0].image.shape
    assert not np.array_equal(drawn("no_finding", 0, view="PA").image, phantoms["no_finding"][0].image)
    assert not any(drawn("no_finding", index, view="PA").has_devices for index in range(10))


NUMBERS = dict.fromkeys(FINDINGS, 4)
CONCEPTS = [f"<chest_xray_{finding}>" for finding in FINDINGS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chest")
    write_chest_studies(folder, NUMBERS, seed=0, share_of_others=0.75, show_progress=False)
    return folder


def rows(folder):
    with open(folder / FOLDER / "train.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_table_and_files_are_those_of_chexpert(folder):
    table = rows(folder)
    assert tuple(table[0]) == COLUMNS
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.jpg")} == {row["Path"] for row in table}
    assert len(table) == 16 + 12
    for row in table:
        assert re.fullmatch(rf"{FOLDER}/train/patient\d+/study[12]/view1_frontal\.jpg", row["Path"])
        assert {row[column] for column in COLUMNS_OF_FINDINGS} <= {"1.0", "0.0", "-1.0", ""}
        with Image.open(folder / row["Path"]) as picture:
            assert (picture.mode, picture.format, min(picture.size)) == ("L", "JPEG", 320)


def test_single_findings_in_ap_view_are_as_many_as_asked_for(folder):
    entries = RadiographCases(folder, "chexpert", CONCEPTS).drawn("training", Sizes(4, 0), seed=0)
    assert [entry["concept"] for entry in entries] == [concept for concept in CONCEPTS for _ in range(4)]


def test_others_come_in_turn(folder):
    radiographs, _ = read_chexpert(folder)
    assert len([one for one in radiographs if one.view == "PA"]) == 4
    assert len([one for one in radiographs if one.uncertain]) == 4
    assert len([one for one in radiographs if len(one.findings) > 1]) == 4
    assert {len(one.findings) for one in radiographs} <= {1, 2, 3}


def test_no_patient_is_in_two_splits(folder):
    cases = RadiographCases(folder, "chexpert", CONCEPTS)
    check_patients_apart({split: cases.drawn(split, Sizes(2, 1), seed=0) for split in SPLITS})


def test_pictures_are_those_of_the_phantom(folder):
    case = PhantomCase.of(0, "pneumonia", 1)
    with Image.open(folder / case.path) as picture:
        stored = np.asarray(picture, dtype=float)
    drawn = case.phantom(0).image
    assert stored.shape == drawn.shape
    assert np.abs(stored - drawn).mean() < 4  # JPEG smooths the noise


def test_a_case_depends_on_seed_kind_and_index_alone(folder, tmp_path):
    numbers = dict.fromkeys(FINDINGS, 0) | {"pneumonia": 2}
    paths = write_chest_studies(tmp_path, numbers, seed=0, share_of_others=0, show_progress=False)
    for path in paths:
        assert (tmp_path / path).read_bytes() == (folder / path).read_bytes()
    assert rows(tmp_path) == [row for row in rows(folder) if row["Path"] in paths]


def test_some_patients_have_two_studies_and_no_two_cases_share_a_path():
    kinds = [*FINDINGS, "several_findings", "other_view", "uncertain"]
    cases = [PhantomCase.of(seed, kind, index) for seed in range(3) for kind in kinds for index in range(100)]
    assert len({case.path for case in cases}) == len(cases)
    assert len(cases) - len({case.patient_id for case in cases}) == len(cases) // 10
    for case in cases:
        if case.study == 2:
            first = PhantomCase.of(0, case.kind, case.patient_index)
            assert first.patient_index == case.patient_index


def test_labels_say_what_is_shown():
    for index in range(40):
        several = PhantomCase.of(0, "several_findings", index)
        assert len(several.findings) in (2, 3)
        assert several.labels == dict.fromkeys(several.findings, 1.0)
        uncertain = PhantomCase.of(0, "uncertain", index)
        assert sorted(uncertain.labels.values()) == [-1.0, 1.0]
        assert set(uncertain.findings) <= set(uncertain.labels)
    shown = {len(PhantomCase.of(0, "uncertain", index).findings) for index in range(40)}
    assert shown == {1, 2}  # what is uncertain is there, or not
    assert PhantomCase.of(0, "no_finding", 0).findings == ()


def test_sets_of_different_seeds_can_lie_together(tmp_path):
    numbers = dict.fromkeys(FINDINGS, 0) | {"no_finding": 1}
    paths = [*write_chest_studies(tmp_path, numbers, 0, 0, show_progress=False)]
    paths += write_chest_studies(tmp_path, numbers, 1, 0, show_progress=False)
    write_chest_studies(tmp_path, numbers, 0, 0, show_progress=False)
    assert [row["Path"] for row in rows(tmp_path)] == paths


def test_table_of_patients_is_not_touched(tmp_path):
    table = tmp_path / FOLDER / "train.csv"
    table.parent.mkdir()
    table.write_text("Path,Sex\nCheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Male\n")
    before = table.read_text()
    with pytest.raises(OutputError, match="train.csv' lists images that are no phantoms: choose another --output_dir$"):
        write_chest_studies(tmp_path, NUMBERS, seed=0, show_progress=False)
    assert table.read_text() == before
    assert not (tmp_path / FOLDER / "train").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pneumonia": -1}, "num_pneumonia must be a whole number from 0 to 100000, got -1: correct --num_pneumonia"),
        ({"no_finding": 1.5}, "num_no_finding must be a whole number from 0 to 100000, got 1.5: correct"),
        ({"seed": True}, "seed must be a whole number from 0 to [0-9]+, got True: correct --seed"),
        ({"share_of_others": 2}, "share_of_others must be a number from 0 to 1, got 2: correct --share_of_others"),
    ],
)
def test_numbers_that_do_not_fit(tmp_path, change, message):
    settings = {"seed": 0, "share_of_others": 0.25}
    numbers = {**NUMBERS, **{key: value for key, value in change.items() if key in FINDINGS}}
    settings |= {key: value for key, value in change.items() if key in settings}
    with pytest.raises(ConfigError, match=f"^{message}"):
        write_chest_studies(tmp_path, numbers, **settings, show_progress=False)


def test_output_that_is_not_writable(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="^output_dir '.*taken' is not writable"):
        write_chest_studies(tmp_path / "taken", NUMBERS, seed=0, show_progress=False)
