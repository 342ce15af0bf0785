# SPDX-License-Identifier: Apache-2.0
"""Which cases the words have seen is what the words say, not what the keys of an evaluation say."""

import json
import re

import pytest
import torch
from generated_runs import change_lines, write_run

from medti_components.data.generated.generated_images import GeneratedImages
from medti_components.errors import DataError, EmbeddingError
from medti_components.evaluation.learned_words import LearnedWords
from medti_components.networks.embedding_files.embedding_file import load_embedding, save_embedding
from medti_components.networks.embedding_files.trained_cases import TrainedCases

CONCEPTS = ["<healthy>", "<ill>"]
NUM_CASES = 4


def cases(numbers, concepts=CONCEPTS):
    return [
        {"concept": concept, "patient_id": f"{concept}{number}", "study_id": "1"}
        for concept in concepts
        for number in numbers
    ]


def write_word(path, concept, **facts):
    seen = [(each["patient_id"], f"{each['patient_id']}_1") for each in cases(range(NUM_CASES), [concept])]
    metadata = {"num_cases": "4", "seed": "7", **TrainedCases.of(seen, concept).metadata, **facts}
    save_embedding(path, concept, torch.ones(2, 4), {key: value for key, value in metadata.items() if value})
    return load_embedding(path)


@pytest.fixture
def words(tmp_path):
    return {concept: write_word(tmp_path / f"{concept.strip('<>')}.safetensors", concept) for concept in CONCEPTS}


def learned(words, training=NUM_CASES, held_out=range(10, 13), **others):
    trained = None if training is None else cases(range(training))
    return LearnedWords([word.path for word in words.values()], CONCEPTS, trained, cases(held_out), **others)


def generated(folder, **facts):
    write_run(folder, CONCEPTS, **facts)
    return GeneratedImages(folder, CONCEPTS, 32, 1)


def test_words_of_the_split_s_cases_are_known(words, tmp_path):
    made_by = {token: word.sha256 for token, word in words.items()}
    found = learned(words, generated=generated(tmp_path / "run", embedding_sha256=made_by))
    assert found.check.is_passed and found.training == cases(range(NUM_CASES)) and found.sha256 == made_by


@pytest.mark.parametrize("number", [3, 5, 0])
def test_another_number_of_cases_than_the_words_have_seen_is_an_error(words, number):
    message = (
        f"'{words['<healthy>'].path}' was learned from 4 cases, of which {min(number, 4)} are among the {number} that "
        "num_cases, num_validation_cases and seed take for training: set --num_cases 4 --seed 7, and --dataset_dir to "
        "what it was learned from"
    )
    with pytest.raises(EmbeddingError, match=f"^{re.escape(message)}$"):
        learned(words, training=number)


def test_cases_that_the_training_could_not_read_are_left_out(words):
    assert learned(words, training=5, skip_unreadable=True).training == cases(range(NUM_CASES))


@pytest.mark.parametrize("training", [None, NUM_CASES])
def test_patients_that_a_word_has_seen_are_not_held_out(words, training):
    message = (
        "1 of 6 held-out cases are of patients that '.*healthy.*' was learned from, '<healthy>3_1' among them: set"
    )
    with pytest.raises(DataError, match=f"^{message}"):
        learned(words, training, held_out=range(3, 6))


def test_another_study_of_a_patient_is_no_held_out_one(words):
    other = [{**case, "study_id": "2"} for case in cases([0])]
    with pytest.raises(DataError, match="^2 of 2 held-out cases|^1 of 2 held-out cases"):
        LearnedWords([word.path for word in words.values()], CONCEPTS, None, other)


def test_words_that_name_no_cases_show_nothing(words):
    word = write_word(words["<ill>"].path, "<ill>", training_cases="")
    check = learned(words).check
    assert check.is_passed is None
    assert check.statement == (
        f"which cases the words were learned from is not known, as '{word.path}' does not say which ones they are"
    )


def test_without_words_nothing_is_known():
    found = LearnedWords(None, CONCEPTS, cases(range(3)), cases(range(10, 13)))
    assert (found.check.is_passed, found.sha256, found.training) == (None, {}, cases(range(3)))
    assert found.check.statement.endswith("is not known, as embeddings is null")


def test_images_that_name_no_words_show_nothing(words, tmp_path):
    check = learned(words, generated=generated(tmp_path / "run")).check
    assert check.is_passed is None and check.statement.endswith(
        "provenance.jsonl' does not say which words made the images"
    )


def test_images_of_another_word_are_an_error(words, tmp_path):
    other = {**{token: word.sha256 for token, word in words.items()}, "<ill>": "0" * 64}
    pattern = (
        r"^'.*ill.safetensors' \(sha256 \w{12}\) is not the word that made the images of '.*' \(sha256 0{12}\): set"
    )
    with pytest.raises(EmbeddingError, match=pattern):
        learned(words, generated=generated(tmp_path / "run", embedding_sha256=other))


def test_images_made_on_another_base_model_are_an_error(words, tmp_path):
    word = write_word(words["<ill>"].path, "<ill>", base_model_sha256="a")
    made_by = {**{token: each.sha256 for token, each in words.items()}, "<ill>": word.sha256}
    images = generated(tmp_path / "run", embedding_sha256=made_by, base_model_sha256="b")
    with pytest.raises(EmbeddingError, match="were made on another base model than '.*ill.safetensors' was learned on"):
        learned(words, generated=images)
    change_lines(tmp_path / "run", lambda number, line: line.update(base_model_sha256="a"))
    assert learned(words, generated=GeneratedImages(tmp_path / "run", CONCEPTS, 32, 1)).check.is_passed


def test_other_pictures_than_those_of_the_training_are_an_error(words):
    write_word(words["<ill>"].path, "<ill>", sequences=json.dumps(["t2w"]), field_of_view_mm="96.0")
    learned(words, pictures={"sequences": ["t2w"], "field_of_view_mm": 96.0})
    message = "field_of_view_mm must be 96.0, with which '.*' was learned, got 150.0: set --field_of_view_mm \"96.0\"$"
    with pytest.raises(EmbeddingError, match=f"^{message}"):
        learned(words, pictures={"sequences": ["t2w"], "field_of_view_mm": 150.0})
    with pytest.raises(
        EmbeddingError, match=r"^sequences must be \['t2w'\], with which .*: set --sequences \"\['t2w'\]\"$"
    ):
        learned(words, pictures={"sequences": ["t2w", "adc", "hbv"]})


def test_a_missing_word_is_named(words):
    message = "embeddings must hold a file of '<ill>', got <healthy>: set --embeddings"
    with pytest.raises(EmbeddingError, match=f"^{re.escape(message)}$"):
        LearnedWords(words["<healthy>"].path, CONCEPTS, None, [])
