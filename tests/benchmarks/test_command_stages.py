# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from command_stages import Stage, StageRecord, is_done, record_of, run_stages


def python(code):
    return [sys.executable, "-c", code]


@pytest.fixture
def chain(tmp_path):
    """Two stages that write a line each time they run; the second builds on the first."""
    return [
        Stage(name, python(f"open({str(tmp_path / 'runs')!r}, 'a').write({name!r} + ' ')"), needs)
        for name, needs in (("first", ()), ("seed_0/second", ("first",)))
    ]


def test_finished_stages_are_not_run_again(chain, tmp_path):
    assert run_stages(chain, tmp_path) == {}
    assert run_stages(chain, tmp_path) == {}
    assert (tmp_path / "runs").read_text() == "first seed_0/second "
    assert all(is_done(stage, tmp_path) for stage in chain)


def test_another_command_runs_again_and_so_does_what_builds_on_it(chain, tmp_path):
    run_stages(chain, tmp_path)
    changed = [Stage("first", [*chain[0].command, "another"]), chain[1]]
    assert not is_done(changed[0], tmp_path)
    run_stages(changed, tmp_path)
    assert (tmp_path / "runs").read_text() == "first seed_0/second " * 2


def test_images_of_another_command_are_removed_and_those_of_the_same_one_stay(tmp_path):
    def run(name):
        code = f"import pathlib, sys; p = pathlib.Path({str(tmp_path / 'images')!r}); p.mkdir(exist_ok=True); "
        code += f"(p / {name!r}).touch(); sys.exit(not (p / 'allowed').exists())"
        run_stages([Stage("images", python(code), images=tmp_path / "images")], tmp_path)
        return {path.name for path in (tmp_path / "images").iterdir()}

    assert run("a") == {"a"}
    (tmp_path / "images" / "begun").touch()
    assert run("a") == {"a", "begun"}  # it failed, and goes on
    assert run("b") == {"b"}


def test_failure_keeps_the_log_and_leaves_out_what_builds_on_it(chain, tmp_path, capfd):
    broken = Stage("first", python("import sys; sys.exit('error: no such key')"))
    independent = Stage("third", python("print('done')"))
    failed = run_stages([broken, chain[1], independent], tmp_path)
    log = tmp_path / "logs" / "first.log"
    assert failed == {
        "first": f"exit status 1: error: no such key ({log})",
        "seed_0/second": "left out: first failed",
    }
    assert (tmp_path / "logs" / "third.log").read_text() == "done\n"
    assert "[2/3] seed_0/second: left out: first failed" in capfd.readouterr().out


def test_minutes_are_those_of_all_attempts_at_one_command(tmp_path):
    record = StageRecord.load(tmp_path / "stages" / "training.json")
    assert record.minutes() != record.minutes()  # not known
    for command, seconds, status in ((["other"], 600, 0), (["train"], 90, 1), (["train"], 30, 0)):
        record.begin(command)
        record.end(seconds, status)
    assert record_of("training", tmp_path).minutes() == 2
    assert record_of("training", tmp_path).is_done(["train"])
