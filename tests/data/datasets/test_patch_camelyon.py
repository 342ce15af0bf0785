# SPDX-License-Identifier: Apache-2.0
import re
from contextlib import contextmanager
from functools import partial

import h5py
import numpy as np
import pytest

from medti_components.data.datasets import patch_camelyon
from medti_components.data.datasets.patch_camelyon import PatchCamelyonCases, patch_labels
from medti_components.data.datasets.patch_camelyon_files import (
    PATCH_SIZE,
    SPLIT_FILES,
    PatchCamelyonFiles,
    open_patches,
)
from medti_components.data.datasets.splits import Sizes, Splits
from medti_components.errors import ConfigError, DataError

NORMAL, TUMOR = CONCEPTS = ["<histopathology_normal>", "<histopathology_tumor>"]
LABELS = [0, 1] * 6


def patch(value):
    pixels = np.full((PATCH_SIZE, PATCH_SIZE, 3), value, dtype=np.uint8)
    pixels[-1, -1] = value + 1
    return pixels


@pytest.fixture
def folder(tmp_path):
    """Six patches of each class in each file, all different."""
    for split in SPLIT_FILES:
        PatchCamelyonFiles.of(tmp_path, split).write(LABELS, (patch(10 * row) for row in range(len(LABELS))))
    return tmp_path


def listed(
    folder,
    split="training",
    concepts=CONCEPTS,
    num_cases=3,
    num_validation_cases=2,
    num_test_cases=None,
    seed=0,
    num_left_out=0,
    **kwargs,
):
    cases, sizes = (
        PatchCamelyonCases(folder, concepts, **kwargs),
        Sizes(num_cases, num_validation_cases, num_test_cases),
    )
    return (
        cases.left(split, Sizes(num_left_out, num_left_out), sizes, seed)
        if num_left_out
        else cases.drawn(split, sizes, seed)
    )


def rows(entries, concept=None):
    return [entry["row"] for entry in entries if concept in (None, entry["concept"])]


def test_each_split_is_drawn_from_its_own_file(folder):
    for split, file, number in (("training", "train", 3), ("validation", "valid", 2), ("test", "test", 6)):
        entries = listed(folder, split)
        assert [entry["concept"] for entry in entries] == [NORMAL] * number + [TUMOR] * number
        for entry in entries:
            assert entry["image"] == str(PatchCamelyonFiles.of(folder, file).x)
            assert entry["label"] == LABELS[entry["row"]] == CONCEPTS.index(entry["concept"])
            assert entry["patient_id"] == f"{file}_{entry['row']}"
    assert len(listed(folder, "test", num_test_cases=4)) == 8


def test_first_patches_are_the_same_however_many_are_asked_for_and_the_seed_decides(folder):
    many = rows(listed(folder, num_cases=6), TUMOR)
    assert rows(listed(folder, num_cases=2), TUMOR) == many[:2]
    assert rows(listed(folder, num_cases=3, num_left_out=2), TUMOR) == many[2:5]
    assert sorted(many) == [1, 3, 5, 7, 9, 11]
    assert len({tuple(rows(listed(folder, num_cases=6, seed=seed), TUMOR)) for seed in range(5)}) > 1


def test_one_concept_s_patches_do_not_depend_on_the_others(folder):
    assert listed(folder, concepts=[TUMOR]) == listed(folder)[3:]


def test_nothing_is_read_where_nothing_is_asked_for(folder):
    PatchCamelyonFiles.of(folder, "valid").x.unlink()
    assert listed(folder, "validation", num_validation_cases=0) == []


def test_a_repeated_patch_is_drawn_once(folder):
    with h5py.File(PatchCamelyonFiles.of(folder, "train").x, "r+") as file:
        file["x"][3] = file["x"][1]
    drawn = rows(listed(folder, num_cases=5), TUMOR)
    assert len({1, 3} & set(drawn)) == 1
    message = (
        f"'{PatchCamelyonFiles.of(folder, 'train').x}' has 5 patches of '{TUMOR}' (label 1) (left out: 1 repeated), "
        "num_cases asks for 6: lower --num_cases"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        listed(folder, num_cases=6)


def test_a_patch_of_one_colour_is_never_drawn(folder):
    with h5py.File(PatchCamelyonFiles.of(folder, "train").x, "r+") as file:
        file["x"][5] = np.array([240, 238, 241], np.uint8)
    assert sorted(rows(listed(folder, num_cases=5), TUMOR)) == [1, 3, 7, 9, 11]
    with pytest.raises(
        DataError, match=r"has 5 patches of .* \(left out: 1 of one colour\), num_cases asks for 6: lower"
    ):
        listed(folder, num_cases=6)


@pytest.mark.parametrize(
    ("split", "arguments", "message"),
    [
        (
            "training",
            {"num_cases": 7},
            r"_train_x.h5' has 6 patches of '.*normal>' \(label 0\), num_cases asks for 7",
        ),
        (
            "training",
            {"num_cases": 4, "num_left_out": 3},
            r"_train_x.h5' has 3 patches of '.*' \(label 0\) beyond the first 3, num_cases asks for 4: lower",
        ),
        (
            "validation",
            {"num_validation_cases": 7},
            r"_valid_x.h5' has 6 patches of .*, num_validation_cases asks",
        ),
        (
            "test",
            {"num_test_cases": 7},
            r"_test_x.h5' has 6 patches of .*, num_test_cases asks for 7: lower",
        ),
    ],
)
def test_class_with_too_few_patches(folder, split, arguments, message):
    with pytest.raises(DataError, match=message):
        listed(folder, split, **arguments)


def test_class_without_a_patch(folder):
    PatchCamelyonFiles.of(folder, "test").write([0], [patch(0)])
    with pytest.raises(DataError, match=r"has 0 patches of '<histopathology_tumor>' \(label 1\), num_test_cases"):
        listed(folder, "test")


def corrupted(folder, row):
    """Replace the train file by one of compressed patches, one of which can't be unpacked."""
    files = PatchCamelyonFiles.of(folder, "train")
    with h5py.File(files.x, "w") as file:
        stored = file.create_dataset(
            "x", data=[patch(10 * row) for row in range(12)], chunks=(1, PATCH_SIZE, PATCH_SIZE, 3), compression="gzip"
        )
        chunk = stored.id.get_chunk_info(row)
    with open(files.x, "r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * chunk.size)
    return files.x


def test_patch_that_can_t_be_read_is_named_or_another_is_drawn(folder, caplog):
    row = rows(listed(folder), TUMOR)[0]
    path = corrupted(folder, row)
    with pytest.raises(
        DataError,
        match=rf"^patch {row} of '{re.escape(str(path))}' is unreadable \(.*\): download the file again, or leave such "
        "patches out by --skip_unreadable true$",
    ):
        listed(folder)
    drawn = rows(listed(folder, skip_unreadable=True), TUMOR)
    assert len(drawn) == 3 and row not in drawn
    assert f"patch {row} of '{path}' is unreadable and left out" in caplog.text


def test_concepts_are_told_by_their_ends():
    with pytest.raises(ConfigError, match=r"^concepts must name at least one token, got \[\]: set --concepts$"):
        patch_labels([])
    with pytest.raises(
        ConfigError,
        match="^concepts of histopathology must end in 'normal>' or 'tumor>', got '<benign>'",
    ):
        patch_labels(["<benign>"])


def classifier(folder, split="training", other=None, **kwargs):
    numbers = {"num_cases": 2, "num_validation_cases": 1}
    numbers |= {"num_classifier_cases": 4, "num_classifier_validation_cases": 5}
    reader = partial(PatchCamelyonCases, concepts=CONCEPTS)
    splits = Splits(reader, folder, seed=0, classifier_dataset_dir=other, **{**numbers, **kwargs})
    return getattr(splits, f"classifier_{split}")


def test_classifier_learns_from_what_the_words_left(folder):
    for split, taken, number in (("training", 2, 4), ("validation", 1, 5)):
        words = listed(folder, split, num_cases=2, num_validation_cases=1)
        left = classifier(folder, split)
        assert len(words) == 2 * taken and len(left) == 2 * number
        assert not set(rows(words)) & set(rows(left))
        assert {entry["image"] for entry in words} == {entry["image"] for entry in left}


def test_classifier_learns_from_other_patches_where_there_are_any(folder, tmp_path):
    other = tmp_path / "other"
    for split in SPLIT_FILES[:2]:
        PatchCamelyonFiles.of(other, split).write(LABELS, (patch(row) for row in range(len(LABELS))))
    assert len(classifier(folder, other=other, num_classifier_cases=6)) == 12
    with pytest.raises(DataError, match="^classifier_dataset_dir 'no' does not exist: set --classifier_dataset_dir to"):
        classifier(folder, other="no")


def test_classifier_s_own_keys_are_named(folder):
    with pytest.raises(DataError, match=r"beyond the first 2, num_classifier_cases asks for 5: lower --num_cl"):
        classifier(folder, num_classifier_cases=5)
    with pytest.raises(DataError, match="^dataset_dir 'no' does not exist: set --dataset_dir to"):
        classifier("no")


SLIDES = ["s0", "s1", "s1", "s2", "s2", "s3", "s3", "s0", "s4", "s4", "s5", "s5"]


def write_meta(folder, split="train", slides=SLIDES, first="{row}"):
    """Write the table that names slides, as Patch Camelyon has it."""
    lines = [f"{first.format(row=row)},1,2,False,False,{slide}" for row, slide in enumerate(slides)]
    table = "\n".join([",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi", *lines])
    PatchCamelyonFiles.of(folder, split).meta.write_text(table + "\n")


def test_a_slide_is_the_patient_where_it_is_named(folder):
    before = rows(listed(folder))
    write_meta(folder)
    entries = listed(folder)
    assert rows(entries) == before
    assert [entry["patient_id"] for entry in entries] == [SLIDES[row] for row in before]
    assert [entry["study_id"] for entry in entries] == [f"train_{row}" for row in before]
    assert listed(folder, "test")[0]["patient_id"].startswith("test_")


def test_a_classifier_gets_no_patch_of_a_slide_that_the_words_have_seen(folder):
    write_meta(folder)
    for seed in range(5):
        words = {entry["patient_id"] for entry in listed(folder, num_cases=1, seed=seed)}
        classifier = {entry["patient_id"] for entry in listed(folder, num_cases=1, num_left_out=1, seed=seed)}
        assert words and classifier and not words & classifier
    with pytest.raises(
        DataError, match=r"\(label 0\) of slides other than those of the first 5, num_cases asks for 1: "
    ):
        listed(folder, num_cases=1, num_left_out=5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"slides": SLIDES[1:]},
            "_train_meta.csv' must have 12 rows, one per patch, got 11: download it again, or move",
        ),
        ({"first": "1{row}"}, r"_train_meta.csv' row 2 must name the slide \(wsi\) of patch 0: download it again"),
        ({"slides": ["", *SLIDES[1:]]}, r"_train_meta.csv' row 2 must name the slide \(wsi\) of patch 0: download"),
    ],
)
def test_a_table_of_slides_that_does_not_fit(folder, arguments, message):
    write_meta(folder, **arguments)
    with pytest.raises(DataError, match=message):
        listed(folder)


def test_patches_are_read_in_ascending_order_and_no_more_than_are_needed(folder, monkeypatch):
    read = []

    class Recorded:
        def __init__(self, patches):
            self.patches = patches

        def __getitem__(self, row):
            read.append(row)
            return self.patches[row]

    @contextmanager
    def opened(path):
        with open_patches(path) as patches:
            yield Recorded(patches)

    monkeypatch.setattr(patch_camelyon, "open_patches", opened)
    drawn = rows(listed(folder, num_cases=5, concepts=[TUMOR]))
    assert read == sorted(drawn)
    assert drawn != read


def test_counts_tell_the_patches_of_each_class_and_what_was_left_out(folder):
    with h5py.File(PatchCamelyonFiles.of(folder, "test").x, "r+") as file:
        file["x"][3] = file["x"][1]
    cases = PatchCamelyonCases(folder, [TUMOR])
    assert cases.counts() == []
    cases.drawn("test", Sizes(0, 0), 0)
    name = PatchCamelyonFiles.of(folder, "test").x.name
    assert cases.counts() == [f"{TUMOR}: 12 patches of '{name}', 6 with label 1, 5 drawn (left out: 1 repeated)"]
