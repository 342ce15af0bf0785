# SPDX-License-Identifier: Apache-2.0
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pkgutil import resolve_name

import pytest

import medti_components
from medti_components import __main__ as command_line
from medti_components.__main__ import COMMANDS, Command
from medti_components.errors import DataError


class Commands:
    """A command group that notes what it was called with."""

    def draw(self, output_dir: str, num_studies: int = 3, scale: float = 1.0, dry_run: bool = False) -> str:
        """Draw studies."""
        return f"{output_dir!r} {num_studies!r} {scale!r} {dry_run!r}"

    def fail(self) -> None:
        """End in a user's mistake."""
        raise DataError("'x.mha' is truncated: download it again")

    def break_(self) -> None:
        """End in a defect."""
        raise ZeroDivisionError("defect")

    def wait(self) -> None:
        """End in an interruption."""
        raise KeyboardInterrupt


def count(first: int = 1, *, fails: bool = False) -> Iterator[str]:
    """Count on from a number."""
    yield f"{first}"
    yield f"{first + 1}"
    if fails:
        raise DataError("no number is left: begin at a smaller one")


HEAVY = ("torch", "monai", "transformers", "diffusers", "matplotlib", "sklearn", "scipy", "ignite")


@pytest.fixture(autouse=True)
def commands(monkeypatch):
    own = {
        "studies": Command(f"{__name__}:Commands", "A command group that notes what it was called with."),
        "count": Command(f"{__name__}:count", "Count on from a number."),
    }
    monkeypatch.setattr(command_line, "COMMANDS", own)


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["studies", "draw", "--output_dir", "a"], "'a' 3 1.0 False"),
        (["studies", "draw", "a", "5"], "'a' 5 1.0 False"),
        (["studies", "draw", "--output-dir", "2024", "--scale", "2", "--dry_run", "true"], "'2024' 3 2.0 True"),
        (["studies", "draw", "--output_dir=a, b", "--num_studies=1"], "'a, b' 1 1.0 False"),
    ],
)
def test_commands_run_with_arguments_of_the_right_kind(arguments, output, capsys):
    assert command_line.main(arguments) == 0
    assert capsys.readouterr().out == f"{output}\n"


def test_a_function_is_a_command_whose_lines_come_one_by_one(capsys):
    assert command_line.main(["count", "--first", "3"]) == 0
    assert capsys.readouterr().out == "3\n4\n"


def test_a_command_may_print_before_it_fails(capsys):
    assert command_line.main(["count", "--fails"]) == 1
    assert capsys.readouterr() == ("1\n2\n", "error: no number is left: begin at a smaller one\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["studie"], "unknown command 'studie': did you mean 'studies'?"),
        (["zzz"], "unknown command 'zzz': known are studies, count"),
        (["studies", "drw"], "unknown command 'drw': did you mean 'draw'?"),
        (["studies", "draw"], "--output_dir must be given: see medti studies draw --help"),
        (["studies", "draw", "a", "--num_studie", "5"], "unknown option '--num_studie': did you mean '--num_studies'?"),
        (["count", "1", "2"], "'2' is one value too many: name each value by its option, --first, --fails"),
        (["studies", "draw", "a", "--num_studies", "x"], "num_studies must be a whole number, got 'x'"),
        (["studies", "draw", "a", "--dry_run", "maybe"], "dry_run must be true or false, got 'maybe'"),
        (["studies", "fail"], "'x.mha' is truncated: download it again"),
    ],
)
def test_mistakes_end_in_one_line_and_status_1(arguments, line, capsys):
    assert command_line.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err == f"error: {line}\n"
    assert captured.out == ""


@pytest.mark.parametrize("arguments", [[], ["--help"], ["studies"], ["studies", "draw", "--help"]])
def test_help_is_shown_without_running_anything(arguments, capsys):
    assert command_line.main(arguments) == 0
    captured = capsys.readouterr()
    assert "medti" in captured.out
    assert captured.err == ""


def test_help_holds_no_hint_of_how_fire_mixes_options_and_places(capsys):
    assert command_line.main(["studies", "draw", "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("NAME\n") and "num_studies" in said
    assert "POSITIONAL ARGUMENTS\n    OUTPUT_DIR" in said
    assert "flags syntax" not in said and "INFO" not in said


def test_the_version_is_that_of_the_package(capsys):
    assert command_line.main(["--version"]) == 0
    assert capsys.readouterr().out == f"medti {medti_components.__version__}\n"


def test_a_defect_keeps_its_traceback_and_a_keyword_names_a_command():
    with pytest.raises(ZeroDivisionError, match="defect"):
        command_line.main(["studies", "break"])


def test_an_interruption_ends_with_status_130(capsys):
    assert command_line.main(["studies", "wait"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("arguments", [["count"], ["--help"]])
def test_a_command_whose_reader_has_gone_ends_quietly(arguments, monkeypatch, capsys):
    """As with ``| head -1``: the status of a program that SIGPIPE ended, nothing on stderr, nothing left to write."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        with pytest.raises(SystemExit) as ended:
            command_line.main(arguments)
        print("more", flush=True)
    assert ended.value.code == 141
    assert capsys.readouterr().err == ""


def test_arguments_of_the_process_are_the_default(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["medti", "studies", "draw", "a"])
    assert command_line.main() == 0
    assert isinstance(command_line._parse(["studies", "draw", "a"]), partial)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_with_the_first_line_of_its_docstring(name):
    place, summary = COMMANDS[name]
    assert inspect.getdoc(resolve_name(place)).partition("\n")[0] == summary


def imported(*arguments):
    """Run a command in a process of its own, and return which of the heavy packages it imports, and what it says."""
    code = (
        "import sys; from medti_components.__main__ import main; status = main(sys.argv[1:]); "
        f"print([name for name in {HEAVY} if name in sys.modules]); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    said, _, names = result.stdout.rstrip().rpartition("\n")
    return names, said


GROUPS = (["embedding", "inspect", "--help"], ["reproduce", "table1", "--help"])
HELP = [["--help"], *([name, "--help"] for name in COMMANDS), *GROUPS]


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_imports_nothing_that_takes_seconds(arguments):
    names, said = imported(*arguments)
    assert names == "[]"
    assert "medti" in said
    if arguments == ["--help"]:
        assert all(text in said for command in COMMANDS.items() for text in (command[0], command[1].summary[:60]))
