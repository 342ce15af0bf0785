# SPDX-License-Identifier: Apache-2.0
"""Answers of readers on the disk: what a killed server leaves, and what is no answer."""

import pytest

from medti_components.apps.reader_study_server.study import AnswerFile, ReaderAnswer, answers_by_reader
from medti_components.errors import DataError, OutputError

FIRST = ReaderAnswer(3, ("real",), "synthetic", 2, 1.5, "2026-01-01T00:00:00+00:00")
SECOND = ReaderAnswer(1, ("synthetic", "real"), "left")


def test_answers_come_back_in_order(tmp_path):
    file = AnswerFile(tmp_path / "answers" / "anna.jsonl")
    assert file.answers() == []
    file.append(FIRST)
    file.append(SECOND)
    assert file.answers() == [FIRST, SECOND]
    assert answers_by_reader(tmp_path / "answers") == {"anna": [FIRST, SECOND]}


@pytest.mark.parametrize("length", [1, 20, -1])
def test_a_torn_line_does_not_count_and_is_replaced(tmp_path, length, caplog):
    file = AnswerFile(tmp_path / "anna.jsonl")
    file.append(FIRST)
    whole = file.path.read_bytes()
    file.path.write_bytes(whole + whole[:length])
    assert file.answers() == [FIRST]
    assert "anna.jsonl' was torn and does not count" in caplog.text
    file.append(SECOND)
    assert file.answers() == [FIRST, SECOND]


@pytest.mark.parametrize(
    "line",
    [
        "x",
        "[]",
        '{"item": 0}',
        '{"item": 0, "shown": ["real"], "answer": "left", "rating": 3}',
        '{"item": 0, "shown": ["real"], "answer": "real"}',
        '{"item": 0, "shown": ["real", "real"], "answer": "left"}',
        '{"item": 0, "shown": [], "answer": "real", "rating": 3}',
        '{"item": -1, "shown": ["real"], "answer": "real", "rating": 3}',
    ],
)
def test_a_line_of_another_kind_is_named(tmp_path, line):
    (tmp_path / "anna.jsonl").write_text(f"{line}\n")
    with pytest.raises(DataError, match=r"anna.jsonl' line 1 is no answer of a reader study: restore or remove the fi"):
        AnswerFile(tmp_path / "anna.jsonl").answers()


def test_a_folder_without_answers_is_named(tmp_path):
    (tmp_path / "anna.jsonl").touch()
    with pytest.raises(DataError, match=r"holds no answers: let a reader answer first, or correct --output_dir$"):
        answers_by_reader(tmp_path)


def test_an_answer_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "answers").touch()
    with pytest.raises(OutputError, match=r"anna.jsonl' can't be written \(.*\): free space or correct its rights$"):
        AnswerFile(tmp_path / "answers" / "anna.jsonl").append(FIRST)
