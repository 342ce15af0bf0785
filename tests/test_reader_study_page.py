# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/reader_study.md do what the page says."""

import inspect
import re
import shlex
from pathlib import Path

import pytest
from generated_runs import random_pixels, write_run
from PIL import Image

from medti_components.__main__ import main
from medti_components.apps.reader_study import reader_study
from medti_components.apps.reader_study_server.study import AnswerFile, ReaderAnswer, ReaderStudy

PAGE = (Path(__file__).parents[1] / "docs" / "reader_study.md").read_text(encoding="utf-8")


def commands():
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    return [shlex.split(line)[3:] for line in "".join(blocks).splitlines()]


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """The folders ``real`` and ``generated`` in the current one, fifty pictures each."""
    monkeypatch.chdir(tmp_path)
    Path("real").mkdir()
    for number in range(50):
        Image.fromarray(random_pixels(100 + number, 8)).save(f"real/{number}.png")
    write_run(Path("generated"), ["<a>"] * 50, size=8)


def test_the_commands_run_in_order(pictures, monkeypatch, capsys):
    """A reader answers one question each time that the page is served."""

    def answered(server):
        [folder] = [name for name in ("study_of_pairs", "study") if Path(name).is_dir()][:1]
        study = ReaderStudy.read(folder)
        shown = tuple(picture.kind for picture in study.shown("anna", 0))
        answer = ReaderAnswer(0, shown, "left", None) if len(shown) == 2 else ReaderAnswer(0, shown, "real", 3)
        AnswerFile(Path(folder) / "answers" / "anna.jsonl").append(answer)

    monkeypatch.setattr("werkzeug.serving.BaseWSGIServer.serve_forever", answered)
    assert len(commands()) == 3
    for line in commands():
        assert main(line) == 0, line
        said = capsys.readouterr().out
        served = "--analyse" not in line
        assert ("http://127.0.0.1:" in said) == served
        assert "anna: 1 of " in said
    for name in ("reader_study.html", "reader_study.json", "answers/anna.jsonl", "study.json"):
        assert (Path("study") / name).is_file()
        assert name.replace("anna", "<reader>") in PAGE


def test_the_options_are_those_of_the_page():
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", PAGE, re.MULTILINE)
    named = {name for names, _ in rows for name in re.findall(r"`(\w+)`", names)}
    assert named == set(inspect.signature(reader_study).parameters)
