# SPDX-License-Identifier: Apache-2.0
"""The page of a reader study, asked by a test client: who may answer what, and what an answer leaves on the disk."""

import io
import re
from pathlib import Path

import pytest
from PIL import Image

from medti_components.apps.reader_study_server import web_page
from medti_components.apps.reader_study_server.study import AnswerFile, ReaderStudy, StudyPicture, drawn
from medti_components.apps.reader_study_server.web_page import ReaderStudyPage
from medti_components.errors import ConfigError, DataError

NUMBER = 6
KEY = "k" * 22


def study_of(kind):
    pictures = [[StudyPicture(name, f"{name}_{number}.png", "") for number in range(NUMBER)] for name in names()]
    items = [*zip(*pictures, strict=True)] if kind == "pairs" else [(one,) for both in pictures for one in both]
    return ReaderStudy(kind, 0, {}, items, KEY)


def names():
    return "real", "synthetic"


def png(picture):
    """A picture in the colour of what it is."""
    buffer = io.BytesIO()
    Image.new("L", (2, 2), 255 if picture.kind == "real" else 0).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def single(tmp_path):
    return client_of(study_of("single"), tmp_path)


def client_of(study, folder, **more):
    return ReaderStudyPage(study, png, folder, **more).app().test_client()


def answer(client, reader, **form):
    return client.post(f"/{KEY}/reader/{reader}/", data=form)


def test_nothing_is_served_without_the_link(single):
    for address in ("/", "/other/", "/reader/anna/", "/static/study.js", "/favicon.ico", f"/{KEY[:-1]}x/"):
        assert single.get(address).status_code == 404
    assert single.get(f"/{KEY}/").status_code == 200


def test_a_page_may_load_nothing_from_elsewhere(single):
    response = single.get(f"/{KEY}/reader/anna/")
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["Cache-Control"] == "no-store"
    assert not re.search(r"https?://", response.text)


def test_a_name_leads_to_its_reader_whatever_its_case(single):
    assert single.post(f"/{KEY}/", data={"reader": " Anna "}).location == f"/{KEY}/reader/anna/"
    for name in ("", "../anna", "a b", "x" * 33, "-a", "\u00e4"):
        assert single.post(f"/{KEY}/", data={"reader": name}).status_code == 404


def test_a_study_for_one_reader_lets_no_other_in(tmp_path):
    client = client_of(study_of("single"), tmp_path, reader="Anna")
    assert client.get(f"/{KEY}/").location == f"/{KEY}/reader/anna/"
    assert client.get(f"/{KEY}/reader/anna/").status_code == 200
    assert client.get(f"/{KEY}/reader/berta/").status_code == 404
    assert answer(client, "berta", position=0, answer="real", rating=3).status_code == 404


def test_a_reader_has_a_name(tmp_path):
    with pytest.raises(ConfigError, match=r"^reader must be 1 to 32 letters, digits, - or _, got 'a b': correct --r"):
        ReaderStudyPage(study_of("single"), png, tmp_path, reader="a b")


def test_an_answer_is_on_the_disk_and_leads_to_the_next_question(single, tmp_path):
    response = answer(single, "anna", position=0, answer="real", rating=4, seconds="1.5")
    assert (response.status_code, response.location) == (303, f"/{KEY}/reader/anna/")
    [given] = AnswerFile(tmp_path / "anna.jsonl").answers()
    study = study_of("single")
    assert given.item == study.order("anna")[0]
    assert given.shown == (study.items[given.item][0].kind,)
    assert (given.answer, given.rating, given.seconds) == ("real", 4, 1.5)
    assert "2 of 12" in single.get(f"/{KEY}/reader/anna/").text


def test_an_answer_sent_twice_or_to_another_question_does_not_count(single, tmp_path):
    for position, rating in ((0, 1), (0, 5), (2, 5), ("x", 5), (-1, 5)):
        assert answer(single, "anna", position=position, answer="real", rating=rating).status_code == 303
    assert [given.rating for given in AnswerFile(tmp_path / "anna.jsonl").answers()] == [1]


@pytest.mark.parametrize(
    "form",
    [{}, {"answer": "real"}, {"rating": "3"}, {"answer": "left", "rating": "3"}, {"answer": "real", "rating": 6}],
)
def test_half_an_answer_is_refused(single, tmp_path, form):
    response = answer(single, "anna", position=0, **form)
    assert response.status_code == 400
    assert "The answer was not complete" in response.text
    assert AnswerFile(tmp_path / "anna.jsonl").answers() == []


@pytest.mark.parametrize("seconds", ["", "nan", "inf", "-1", "soon"])
def test_a_time_that_is_none_is_left_out(single, tmp_path, seconds):
    answer(single, "anna", position=0, answer="real", rating=4, seconds=seconds)
    assert AnswerFile(tmp_path / "anna.jsonl").answers()[0].seconds is None


def test_readers_see_the_same_pictures_in_orders_of_their_own(single):
    study = study_of("single")
    orders = [study.order(reader) for reader in ("anna", "berta", "anna")]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == [*range(2 * NUMBER)]
    for position, item in enumerate(orders[0]):
        shown = single.get(f"/{KEY}/reader/anna/{position}/0.png").data
        assert shown == png(study.items[item][0])
    for address in (f"{2 * NUMBER}/0.png", "0/1.png"):
        assert single.get(f"/{KEY}/reader/anna/{address}").status_code == 404


def test_pairs_have_either_kind_on_the_left_equally_often(tmp_path):
    study = study_of("pairs")
    client = client_of(study, tmp_path)
    lefts = []
    for position in range(NUMBER):
        left, right = (client.get(f"/{KEY}/reader/anna/{position}/{side}.png").data for side in (0, 1))
        assert left != right
        lefts.append("real" if left == png(StudyPicture("real", "", "")) else "synthetic")
        answer(client, "anna", position=position, answer="left")
    assert lefts.count("real") == NUMBER // 2
    given = AnswerFile(tmp_path / "anna.jsonl").answers()
    assert [one.chosen for one in given] == lefts
    assert [one.item for one in given] == study.order("anna")


def test_the_last_answer_ends_the_study_once(tmp_path):
    finished = []
    client = client_of(study_of("pairs"), tmp_path, finished=finished.append)
    for position in [*range(NUMBER), NUMBER - 1, NUMBER]:
        answer(client, "anna", position=position, answer="right")
    assert finished == ["anna"]
    assert "All 6 answers are saved" in client.get(f"/{KEY}/reader/anna/").text


def test_a_reader_sees_no_file_name_when_a_picture_is_lost(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(web_page.logger, "error", lambda text, *values: said.append(text % values))

    def lost(picture):
        raise DataError(f"'{picture.file}' is missing")

    client = ReaderStudyPage(study_of("single"), lost, tmp_path).app().test_client()
    response = client.get(f"/{KEY}/reader/anna/0/0.png")
    assert response.status_code == 500
    assert response.text.startswith("Something is wrong on this computer: tell whoever runs the study.")
    assert "png" not in response.text
    assert len(said) == 1 and ".png' is missing" in said[0]


def test_the_pictures_drawn_of_few_are_the_first_of_those_of_many():
    paths = [Path(f"{number}.png") for number in range(20)]
    assert drawn(paths, 20, 0, "real")[:5] == drawn(paths, 5, 0, "real") != drawn(paths, 5, 1, "real")
    assert sorted(drawn(paths, 20, 0, "real")) == sorted(paths)
