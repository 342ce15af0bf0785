# SPDX-License-Identifier: Apache-2.0
import csv

import pytest
import torch
from generated_runs import write_run

from medti_components.data.classification.classifier_images import ClassifierImages, check_unseen, synthetic_images
from medti_components.errors import ConfigError, DataError

CLASSES = ["<a_negative>", "<a_positive>"]


def real(number):
    """Items as prepared images have them."""
    return [
        {
            "image": torch.full((3, 32, 32), float(index)),
            "label": index % 2,
            "concept": CLASSES[index % 2],
            "patient_id": f"p{index}",
            "study_id": f"s{index}",
        }
        for index in range(number)
    ]


@pytest.fixture
def generated(tmp_path):
    return write_run(tmp_path / "generated", CLASSES * 5)


def test_half_of_each_class_is_drawn_by_seed_and_few_are_the_first_of_many(generated) -> None:
    few = synthetic_images(generated, CLASSES, 16, 4, seed=1)
    many = synthetic_images(generated, CLASSES, 16, 10, seed=1)
    other = synthetic_images(generated, CLASSES, 16, 4, seed=2)
    assert few is not None and many is not None and other is not None
    files = [
        [item["file"] for item in (images[index] for index in range(len(images)))] for images in (few, many, other)
    ]
    assert [few[index]["label"] for index in range(4)] == [0, 0, 1, 1]
    assert files[0][:2] == files[1][:2]
    assert files[0][2:] == files[1][5:7]
    assert files[0] != files[2]
    assert few[0]["image"].shape == (3, 16, 16)


def test_none_are_wanted() -> None:
    assert synthetic_images(None, CLASSES, 16, 0, seed=0) is None


def test_wanted_without_a_folder() -> None:
    with pytest.raises(
        ConfigError, match="synthetic_dir must be the output_dir of a generating run for num_synthetic 4"
    ):
        synthetic_images(None, CLASSES, 16, 4, seed=0)


def test_fewer_than_wanted(generated) -> None:
    with pytest.raises(
        DataError, match="must hold 6 images of <a_negative>, got 5: generate more, or set --num_synthetic 10"
    ):
        synthetic_images(generated, CLASSES, 16, 12, seed=0)


def test_real_images_come_before_synthetic_ones(generated) -> None:
    synthetic = synthetic_images(generated, CLASSES, 32, 2, seed=0)
    images = ClassifierImages(real(3), synthetic)
    assert len(images) == 5
    assert [images[index]["label"] for index in range(5)] == [0, 1, 0, 0, 1]
    assert images[2]["image"].mean() == 2
    with pytest.raises(IndexError):
        images[5]
    assert [item["label"] for item in ClassifierImages([], synthetic)] == [0, 1]


def test_neither_real_nor_synthetic() -> None:
    with pytest.raises(ConfigError, match="num_real and num_synthetic must not both be 0: set --num_real"):
        ClassifierImages([], None)


def test_table_tells_what_was_learned_from(generated, tmp_path) -> None:
    images = ClassifierImages(real(2), synthetic_images(generated, CLASSES, 32, 2, seed=0), real(3)[2:])
    images.write_table(tmp_path)
    with open(tmp_path / "cases.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [(row["split"], row["source"]) for row in rows] == [
        *[("training", "real")] * 2,
        *[("training", "synthetic")] * 2,
        ("validation", "real"),
    ]
    assert rows[0]["patient_id"] == "p0" and rows[3]["study_id"].endswith(".png")


def test_fingerprint_is_that_of_the_images() -> None:
    assert ClassifierImages(real(3), None).fingerprint == ClassifierImages(real(3), None).fingerprint
    assert ClassifierImages(real(3), None).fingerprint != ClassifierImages(real(2), None).fingerprint
    replaced = real(3)
    replaced[1]["image"] = replaced[2]["image"]
    assert ClassifierImages(real(3), None).fingerprint != ClassifierImages(replaced, None).fingerprint


@pytest.mark.parametrize(("number", "split"), [(0, "training"), (2, "validation")])
def test_known_patient_in_the_test_set(tmp_path, number, split) -> None:
    ClassifierImages(real(2), None, real(3)[2:]).write_table(tmp_path)
    check_unseen(tmp_path / "classifier.safetensors", [{"patient_id": "p9"}])
    with pytest.raises(
        DataError, match=f"^patient 'p{number}' is in both {split} and test of '.*': set --split_seed and"
    ):
        check_unseen(tmp_path / "classifier.safetensors", [{"patient_id": f"p{number}"}])


def test_table_of_another_kind(tmp_path) -> None:
    (tmp_path / "cases.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="cases.csv' has no column 'split': train the classifier"):
        check_unseen(tmp_path / "classifier.safetensors", [])
    check_unseen(tmp_path / "elsewhere" / "classifier.safetensors", [{"patient_id": "p0"}])


@pytest.mark.parametrize("split", ["Training", "VALIDATION", ""])
def test_patients_are_known_however_their_split_is_written(tmp_path, split):
    (tmp_path / "cases.csv").write_text(f"split,source,concept,patient_id,study_id\n{split},Real,<a>,p1,1\n")
    with pytest.raises(DataError, match="^patient 'p1' is in both "):
        check_unseen(tmp_path / "classifier.safetensors", [{"patient_id": "p1"}])


def test_a_split_of_another_name_is_an_error(tmp_path):
    (tmp_path / "cases.csv").write_text("split,source,concept,patient_id,study_id\ntrain,real,<a>,p1,1\n")
    with pytest.raises(DataError, match=r"cases.csv' row 2 has 'train' in column 'split', must be training, valid"):
        check_unseen(tmp_path / "classifier.safetensors", [{"patient_id": "p2"}])
