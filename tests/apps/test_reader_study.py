# SPDX-License-Identifier: Apache-2.0
"""The command reader_study: what it refuses, and a study from the first click to the figures in a real browser."""

import json
import re
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from generated_runs import SIZE, change_lines, random_pixels, write_run
from headless_browser import browser, requested_addresses  # noqa: F401 a fixture
from PIL import Image

from medti_components.__main__ import main
from medti_components.apps import reader_study as command
from medti_components.apps.reader_study_server.study import AnswerFile, ReaderAnswer, ReaderStudy

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 900  # seconds; only a failing test waits as long


@pytest.fixture
def folders(tmp_path):
    """Real pictures, named as patients are, and a generating run's folder, four of each."""
    (tmp_path / "real").mkdir()
    for number in range(4):
        Image.fromarray(random_pixels(100 + number)).save(tmp_path / "real" / f"patient_{number}.png")
    write_run(tmp_path / "generated", ["<a>"] * 4)
    return {
        "--real_dir": str(tmp_path / "real"),
        "--generated_dir": str(tmp_path / "generated"),
        "--output_dir": str(tmp_path / "study"),
        "--num_images": "4",
    }


@pytest.fixture
def no_serving(monkeypatch):
    """Let the command end where it would begin to serve."""
    monkeypatch.setattr(command, "_served", lambda *arguments: iter(()))


def run(options, **more):
    """Return the exit status of the command."""
    given = {**options, **{f"--{key}": str(value) for key, value in more.items()}}
    return main(["reader_study", *(word for pair in given.items() for word in pair)])


def one_line(capsys):
    """Return the only line on stderr but for progress bars."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0].removeprefix("error: ")


def answer_all(folder, reader, answers):
    """Write a reader's answers to a study's items, from the first on."""
    items = ReaderStudy.read(folder).items
    for number, answer in enumerate(answers):
        shown = tuple(picture.kind for picture in items[number])
        rating = 3 if len(shown) == 1 else None
        AnswerFile(Path(folder) / "answers" / f"{reader}.jsonl").append(ReaderAnswer(number, shown, answer, rating))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"real_dir": ""}, "--real_dir and --generated_dir must be given: see medti reader_study --help"),
        ({"kind": "triples"}, "kind must be one of single, pairs, got 'triples'"),
        ({"num_images": 0}, "num_images must be at least 1, got 0: correct --num_images"),
        ({"channels": "red"}, "channels must be one of auto, colour, grey, panels, got 'red'"),
        ({"reader": "../x"}, "reader must be 1 to 32 letters, digits, - or _, got '../x': correct --reader"),
    ],
)
def test_a_wrong_option_is_one_line(folders, more, message, capsys, no_serving):
    assert run(folders, **more) == 1
    assert one_line(capsys) == message


def test_too_few_pictures_are_refused_with_the_number_that_there_is(folders, capsys):
    assert run(folders, num_images=5) == 1
    assert one_line(capsys) == (
        f"real_dir '{folders['--real_dir']}' must hold 5 images, got 4: add some, or set --num_images 4"
    )


def test_a_folder_without_pictures_is_refused(folders, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(folders, real_dir=tmp_path / "empty") == 1
    assert one_line(capsys) == f"real_dir '{tmp_path / 'empty'}' holds no PNG or JPEG: correct --real_dir"


def test_a_folder_that_is_not_there_is_refused(folders, tmp_path, capsys):
    assert run(folders, generated_dir=tmp_path / "nowhere") == 1
    assert one_line(capsys) == f"generated_dir '{tmp_path / 'nowhere'}' is no folder: correct --generated_dir"


def test_a_picture_that_cannot_be_read_is_named(folders, capsys):
    broken = Path(folders["--real_dir"]) / "patient_2.png"
    broken.write_bytes(broken.read_bytes()[:100])
    assert run(folders) == 1
    assert one_line(capsys) == f"'{broken}' is missing or not a readable PNG or JPEG: correct or remove it"


def test_one_folder_for_both_is_refused(folders, capsys):
    folder = folders["--generated_dir"]
    assert run(folders, real_dir=f"{folder}/../generated") == 1
    assert one_line(capsys) == (
        f"real_dir and generated_dir must be two folders, got '{folder}/../generated' for both: correct one"
    )


def test_a_folder_within_the_other_is_refused(folders, tmp_path, capsys):
    assert run(folders, real_dir=tmp_path) == 1
    assert one_line(capsys) == (
        f"real_dir '{tmp_path}' and generated_dir '{folders['--generated_dir']}' must not lie in each other: move one"
    )


def test_generated_images_are_no_real_ones(folders, tmp_path, capsys):
    write_run(tmp_path / "others", ["<a>"] * 4)
    assert run(folders, real_dir=tmp_path / "others") == 1
    assert one_line(capsys) == (
        f"real_dir '{tmp_path / 'others'}' is the output_dir of a generating run: give a folder of real images"
    )


@pytest.mark.parametrize("port", ["taken", "65536"])
def test_a_port_that_cannot_be_had_is_one_line(folders, port, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1] if port == "taken" else int(port)
        assert run(folders, port=number) == 1
    messages = {
        "taken": f"port {number} of 127.0.0.1 can't be served at (Address already in use): choose another by --port, "
        "0 for a free one, or correct --host",
        "65536": "port must be at most 65535, got 65536: correct --port",
    }
    assert one_line(capsys) == messages[port]


def test_without_flask_the_command_to_install_it_is_given(folders, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "medti_components.apps.reader_study_server.web_page", raising=False)
    monkeypatch.setitem(sys.modules, "flask", None)
    assert run(folders) == 1
    assert one_line(capsys) == "reader_study needs Flask, which is not installed: pip install 'flask>=3.1'"


@pytest.mark.slow
def test_other_commands_do_not_import_flask():
    line = "import sys, medti_components.__main__; sys.exit('flask' in sys.modules)"
    subprocess.run([sys.executable, "-c", line], cwd=REPOSITORY, check=True)


def test_another_host_is_warned_of(folders, capsys, monkeypatch):
    monkeypatch.setattr("werkzeug.serving.BaseWSGIServer.serve_forever", lambda server: None)
    assert run(folders) == 0
    assert "warning" not in capsys.readouterr().out
    assert run(folders, host="0.0.0.0") == 0
    assert "warning: --host 0.0.0.0 lets other machines in; whoever has the link sees" in capsys.readouterr().out


def test_a_concept_takes_the_images_of_that_word_alone(folders, no_serving):
    change_lines(Path(folders["--generated_dir"]), lambda number, line: line.update(prompt=f"<{'ab'[number % 2]}>"))
    assert run(folders, concept="<b>", num_images=2) == 0
    pictures = [item[0] for item in ReaderStudy.read(folders["--output_dir"]).items]
    assert {picture.file for picture in pictures if picture.kind == "synthetic"} == {"images/1.png", "images/3.png"}


def test_a_study_goes_on_with_its_own_settings_alone(folders, no_serving, capsys):
    assert run(folders) == 0
    key = ReaderStudy.read(folders["--output_dir"]).link_key
    assert run(folders) == 0
    assert ReaderStudy.read(folders["--output_dir"]).link_key == key
    capsys.readouterr()
    assert run(folders, kind="pairs", seed=1) == 1
    assert one_line(capsys) == (
        f"output_dir '{folders['--output_dir']}' holds a study of other pictures or settings: give --kind single "
        "--seed 0 to go on with it, or choose another folder by --output_dir"
    )


def test_a_study_does_not_go_on_with_changed_pictures(folders, no_serving, capsys):
    assert run(folders) == 0
    Image.fromarray(random_pixels(7)).save(Path(folders["--real_dir"]) / "patient_0.png")
    assert run(folders) == 1
    assert "settings: restore the pictures to go on with it, or choose" in one_line(capsys)


@pytest.mark.parametrize("content", ["{", "[]", '{"items": [[{}]]}'])
def test_a_damaged_study_is_named(folders, no_serving, content, capsys):
    path = Path(folders["--output_dir"]) / "study.json"
    path.parent.mkdir()
    path.write_text(content)
    assert run(folders) == 1
    assert one_line(capsys) == f"'{path}' is damaged: restore it, or choose another folder by --output_dir"


def test_there_must_be_a_study_and_an_answer_to_analyse(folders, no_serving, capsys):
    folder = folders["--output_dir"]
    assert main(["reader_study", "--output_dir", folder, "--analyse", "true"]) == 1
    assert one_line(capsys) == f"output_dir '{folder}' holds no reader study: correct --output_dir"
    assert run(folders) == 0
    assert capsys.readouterr().out.endswith("no answers yet\n")
    assert main(["reader_study", "--output_dir", folder, "--analyse", "true"]) == 1
    assert one_line(capsys) == (
        f"'{folder}/answers' holds no answers: let a reader answer first, or correct --output_dir"
    )


def test_pictures_that_are_not_square_are_announced(folders, no_serving, capsys):
    Image.fromarray(random_pixels(9)[:, :20]).save(Path(folders["--real_dir"]) / "patient_1.png")
    assert run(folders) == 0
    assert "1 images are not square: their middle square is shown" in capsys.readouterr().out
    assert ReaderStudy.read(folders["--output_dir"]).settings["image_size"] == 20


def test_answers_are_analysed_without_serving(folders, no_serving, capsys):
    assert run(folders, kind="pairs") == 0
    answer_all(folders["--output_dir"], "anna", ["left"] * 3)  # shown[0] is real here, so three times the real one
    capsys.readouterr()
    assert main(["reader_study", "--output_dir", folders["--output_dir"], "--analyse", "true"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("anna: 3 of 4 answers, preference 0.000 [0.000, 0.708], p = 0.250\n")
    figures = json.loads((Path(folders["--output_dir"]) / "reader_study.json").read_text())
    assert figures["readers"]["anna"]["preference"]["n"] == {"pairs": 3}
    assert figures["items"][0]["files"]["real"].startswith("patient_")


class Server:
    """The command in a process of its own."""

    def __init__(self, options, **more):
        given = {**options, **{f"--{key}": str(value) for key, value in more.items()}}
        words = [word for pair in given.items() for word in pair]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "medti_components", "reader_study", *words],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self._address()

    def _address(self):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if select.select([self.process.stdout], [], [], 1)[0]:
                line = self.process.stdout.readline()
                if found := re.search(r"http://127\.0\.0\.1:\d+/\S+/", line):
                    return found[0]
                assert line, "the command ended before it served"
        raise AssertionError("no address")

    @property
    def port(self):
        return int(self.address.split(":")[2].split("/")[0])

    def stop(self):
        """Stop it, as Ctrl-C would, and return what it said."""
        self.process.terminate()
        said, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0
        return said


class Reader:
    """Somebody before the browser, who sees pages and nothing else."""

    def __init__(self, driver, name):
        self.driver, self.name, self.pages = driver, name, []

    def enter(self, address):
        self.driver.get(address)
        self.pages.append(self.driver.page_source)
        self.find("#reader").send_keys(self.name)
        self.find("button").click()
        self.wait(".progress")

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def wait(self, selector):
        deadline = time.monotonic() + PATIENCE
        while not self.driver.find_elements("css selector", selector):
            assert time.monotonic() < deadline, self.driver.page_source
            time.sleep(0.05)

    @property
    def position(self):
        found = re.search(r"(\d+) of \d+", self.find("main").text)
        return int(found[1]) - 1 if found else None

    def look(self):
        """Take note of the page; return the pixels of its pictures as the browser drew them."""
        self.pages.append(self.driver.page_source)
        script = (
            "return [...document.images].map(i => { const c = document.createElement('canvas'); "
            "c.width = i.naturalWidth; c.height = i.naturalHeight; const x = c.getContext('2d'); x.drawImage(i, 0, 0); "
            "return [c.height, c.width, ...x.getImageData(0, 0, c.width, c.height).data]; })"
        )
        drawn = [np.array(values) for values in self.driver.execute_script(script)]
        return [values[2:].reshape(*values[:2], 4)[..., :3].astype(np.uint8) for values in drawn]

    def press(self, *keys):
        before = self.position
        for key in keys:
            self.find("body").send_keys(key)
        self.wait_for_next(before)

    def click(self, *values):
        before = self.position
        for value in values:
            self.find(f"label:has(input[value='{value}'])").click()
        self.find("button").click()
        self.wait_for_next(before)

    def wait_for_next(self, before):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if self.position != before:
                    return
            except Exception as error:  # the page is being replaced
                if time.monotonic() > deadline:
                    raise AssertionError("no next page") from error
            assert time.monotonic() < deadline, "no next page"
            time.sleep(0.05)


def is_real(pixels):
    """Tell a test's real pictures from its generated ones by their pixels."""
    return any(np.array_equal(pixels, random_pixels(100 + number)) for number in range(4))


def check_nothing_is_told(driver, readers, address):
    """The pages and what they asked for name no file and nothing beyond this server."""
    requests = requested_addresses(driver)
    assert len(requests) > 8
    root = address.split("/", 3)[:3]
    assert all(request.split("/", 3)[:3] == root for request in requests), requests
    told = "".join([*requests, *(page for reader in readers for page in reader.pages)])
    for word in ("patient", "images/", "generated"):
        assert word not in told
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.slow
def test_two_readers_go_through_a_study_of_single_images_over_a_killed_server(folders, browser):  # noqa: F811
    server = Server(folders)
    try:
        anna, berta = Reader(browser, "Anna"), Reader(browser, "berta")
        anna.enter(server.address)
        orders = {"anna": [], "berta": []}
        for position in range(8):
            if position == 3:
                server.process.kill()
                server.process.wait()
                server = Server(folders, port=server.port)
                browser.refresh()
            assert anna.position == position
            [pixels] = anna.look()
            assert pixels.shape == (SIZE, SIZE, 3)
            orders["anna"].append(pixels.tobytes())
            anna.press("r" if is_real(pixels) else "s", "5" if is_real(pixels) else "2", "\ue007")
        assert "Thank you" in anna.find("main").text
        figures = json.loads((Path(folders["--output_dir"]) / "reader_study.json").read_text())
        assert figures["readers"]["anna"]["is_complete"]

        berta.enter(server.address)
        for position in range(8):
            assert berta.position == position
            orders["berta"].append(berta.look()[0].tobytes())
            berta.click("real", "4")
        assert sorted(orders["anna"]) == sorted(orders["berta"])
        assert orders["anna"] != orders["berta"]
        check_nothing_is_told(browser, [anna, berta], server.address)
        said = server.stop()
    finally:
        server.process.kill()
    assert "anna: 8 of 8 answers, accuracy 1.000 [0.631, 1.000], p = 0.008" in said
    assert "berta: 8 of 8 answers, accuracy 0.500 [0.157, 0.843], p = 1.000" in said
    figures = json.loads((Path(folders["--output_dir"]) / "reader_study.json").read_text())
    assert figures["readers"]["berta"]["sensitivity"]["value"] == 0
    assert figures["readers"]["berta"]["specificity"]["value"] == 1
    assert figures["readers"]["anna"]["ratings"]["difference"]["value"] == -3
    assert figures["all_readers"]["accuracy"]["value"] == 0.75
    assert figures["agreement"]["two_readers"]["anna, berta"]["kappa"]["value"] == 0
    assert figures["readers"]["anna"]["median_seconds"] > 0
    browser.get((Path(folders["--output_dir"]) / "reader_study.html").as_uri())
    assert "Sensitivity" in browser.page_source
    assert requested_addresses(browser) == [browser.current_url]


@pytest.mark.slow
def test_a_reader_goes_through_pairs_by_arrow_keys(folders, browser):  # noqa: F811
    server = Server(folders, kind="pairs", reader="cleo")
    try:
        cleo = Reader(browser, "cleo")
        browser.get(server.address)
        sides = []
        for position in range(4):
            assert cleo.position == position
            left, right = (is_real(pixels) for pixels in cleo.look())
            assert left != right
            sides.append(left)
            cleo.press("\ue012" if right else "\ue014", "\ue007")  # the synthetic one: left arrow or right arrow
        assert sum(sides) == 2
        check_nothing_is_told(browser, [cleo], server.address)
        said = server.stop()
    finally:
        server.process.kill()
    assert "cleo: 4 of 4 answers, preference 1.000 [0.398, 1.000], p = 0.125" in said
