# SPDX-License-Identifier: Apache-2.0
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from medti_components.apps.reproduction import step_chain
from medti_components.apps.reproduction.step_chain import Step, StepChain, gpus, record_of


def python(code, *arguments):
    return [sys.executable, "-c", code, *arguments]


def noting(path: Path, name: str, **more) -> Step:
    """A step that adds its name, and what it is called with, to a file."""
    code = f"import sys; open({str(path)!r}, 'a').write(' '.join(['{name}', *sys.argv[1:]]) + ';')"
    return Step(name, python(code), **more)


def test_a_changed_file_runs_the_command_again(tmp_path) -> None:
    config = tmp_path / "overlay.json"
    config.write_text("{}")
    step = noting(tmp_path / "runs", "a", files=(config,))
    for _ in range(2):
        assert len([*StepChain([step], tmp_path).run()]) > 0
    assert (tmp_path / "runs").read_text() == "a;"
    config.write_text('{"num_batches": 1}')
    assert not StepChain([step], tmp_path).is_done(step)
    [*StepChain([step], tmp_path).run()]
    assert (tmp_path / "runs").read_text() == "a;a;"


def test_what_was_broken_off_goes_on_and_a_changed_command_begins_anew(tmp_path) -> None:
    step = noting(tmp_path / "runs", "a", resume=("--resume", "true"))
    record_of("a", tmp_path).begin(step.command)  # and was killed
    [*StepChain([step], tmp_path).run()]
    assert (tmp_path / "runs").read_text() == "a --resume true;"
    changed = Step("a", [*step.command, "more"], resume=step.resume)
    [*StepChain([changed], tmp_path).run()]
    assert (tmp_path / "runs").read_text() == "a --resume true;a more;"


def test_what_was_broken_off_before_its_first_checkpoint_begins_anew(tmp_path) -> None:
    checkpoints = tmp_path / "checkpoints"
    step = noting(tmp_path / "runs", "a", resume=("--resume", "true"), checkpoints=checkpoints)
    record_of("a", tmp_path).begin(step.command)
    [*StepChain([step], tmp_path).run()]
    assert (tmp_path / "runs").read_text() == "a;"
    record_of("a", tmp_path).begin(step.command)
    checkpoints.mkdir()
    (checkpoints / "step_00000001.safetensors").touch()
    [*StepChain([step], tmp_path).run()]
    assert (tmp_path / "runs").read_text() == "a;a --resume true;"


def test_a_killed_command_is_run_again(tmp_path) -> None:
    pid = tmp_path / "pid"
    code = f"import os, pathlib, time; f = pathlib.Path({str(pid)!r}); n = f.exists(); f.write_text(str(os.getpid()))\n"
    step = Step("a", python(f"{code}n or time.sleep(60)"))
    chain = StepChain([step], tmp_path)
    lines = chain.run()
    next(lines)
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.01)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    list(lines)
    assert chain.failed["a"].startswith("exit status -9: no output (")
    again = StepChain([step], tmp_path)
    assert not again.is_done(step)
    [*again.run()]
    assert again.failed == {} and again.is_done(step)


def test_a_chain_that_ends_early_ends_its_commands(tmp_path) -> None:
    lines = StepChain([Step("a", python("import time; time.sleep(60)"))], tmp_path).run()
    next(lines)
    start = time.monotonic()
    lines.close()
    assert time.monotonic() - start < 30
    assert record_of("a", tmp_path).attempts[-1]["status"] is None


def test_independent_steps_run_side_by_side(tmp_path) -> None:
    """Each waits for the other's file, so that neither could end alone."""
    codes = [
        f"import pathlib, time; d = pathlib.Path({str(tmp_path)!r}); (d / '{own}').touch()\n"
        f"while not (d / '{other}').exists(): time.sleep(0.01)"
        for own, other in (("x", "y"), ("y", "x"))
    ]
    chain = StepChain([Step(name, python(code)) for name, code in zip("ab", codes, strict=True)], tmp_path, 2)
    [*chain.run()]
    assert chain.failed == {}


def test_lines_say_how_much_is_left(tmp_path) -> None:
    steps = [noting(tmp_path / "runs", f"seed_{seed}/training") for seed in range(3)]
    lines = [line for line in StepChain(steps, tmp_path).run() if "-c" not in line]
    assert [line.partition("; ")[2] for line in lines] == ["2 to do, about 0 min", "1 to do, about 0 min", ""]
    more = [*steps, noting(tmp_path / "runs", "a/other"), noting(tmp_path / "runs", "b/evaluating")]
    lines = [line for line in StepChain(more, tmp_path).run() if "-c" not in line]
    assert lines[0] == "[1/5] seed_0/training: done before, 0.0 min"
    assert lines[3].endswith("; 1 to do")  # nothing of its kind has been run


def test_processes_share_cores_and_gpus(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(step_chain, "num_cores", lambda: 8)
    monkeypatch.setattr(step_chain, "gpus", lambda: ["3", "5"])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    chain = StepChain([], tmp_path, num_processes=2)
    environments = [chain._environment(slot) for slot in range(2)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in environments] == ["3", "5"]
    assert {one["OMP_NUM_THREADS"] for one in environments} == {"4"}


@pytest.mark.parametrize(("visible", "names"), [("3,5", ["3", "5"]), (None, ["0", "1"])])
def test_visible_gpus_keep_their_names(monkeypatch, visible, names) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus() == names


def test_plan_says_what_is_done_and_how_long_the_rest_takes_by_its_work(tmp_path) -> None:
    steps = [Step(f"{name}/kind", python("pass", name), work=work) for name, work in (("a", 2.0), ("b", 6.0))]
    assert [*StepChain(steps, tmp_path).plan()][-1] == "2 commands; 2 to do"
    record = record_of("a/kind", tmp_path)
    record.begin(steps[0].command)
    record.end(60.0, 0)
    lines = [*StepChain(steps, tmp_path).plan()]
    assert lines[0].startswith("a/kind: done, 1.0 min: ") and lines[1].startswith("b/kind: to do: ")
    assert lines[2] == "2 commands; 1 to do, about 3 min"  # three times the work
    assert [*StepChain([*steps, Step("c/other", [])], tmp_path).plan()][-1] == "3 commands; 2 to do, over 3 min"
    assert [*StepChain(steps[:1], tmp_path).plan()][-1] == "1 commands, all done"
