# SPDX-License-Identifier: Apache-2.0
import fcntl
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "workflow" / "scripts" / "run_module.py"
MODULE = """
import os, pathlib, sys
if __name__ == "__main__":
    print(*sys.argv[1:], os.environ["PYTHONWARNINGS"], pathlib.Path.cwd().name)
    sys.exit(int(pathlib.Path("status").read_text()))
"""


@pytest.fixture
def job(tmp_path):
    """Run a job whose module ends with a status; returns what it printed."""
    (tmp_path / "own_module.py").write_text(MODULE)
    (tmp_path / "config.json").write_text("{}")

    def run(status: int, *options: str) -> str:
        (tmp_path / "status").write_text(str(status))
        command = [sys.executable, "-S", str(SCRIPT), "--record", str(tmp_path / "steps" / "a.json"), *options]
        command += ["--working_dir", str(tmp_path), "--configs", str(tmp_path / "config.json"), "--", "own_module", "x"]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert result.returncode == status, result.stderr
        return result.stdout

    return run


def test_a_training_that_was_broken_off_goes_on_and_another_begins_anew(job, tmp_path) -> None:
    record, checkpoints = tmp_path / "steps" / "a.json", tmp_path / "checkpoints"
    options = ("--checkpoints", str(checkpoints))
    assert job(3, *options).startswith("x ignore:parsing config_file:UserWarning ")
    assert json.loads(record.read_text())["is_done"] is False
    assert job(3, *options).startswith("x ignore")  # it had not come to a checkpoint
    checkpoints.mkdir()
    (checkpoints / "step_1.safetensors").touch()
    assert job(0, *options).startswith("x --resume true ")
    assert json.loads(record.read_text())["is_done"] is True
    assert job(3, *options).startswith("x ignore")  # it had ended well: begun anew
    (tmp_path / "config.json").write_text('{"max_steps": 7}')
    assert job(3, *options).startswith("x ignore")  # another training
    assert job(0).startswith("x ignore")  # not a training


def test_seconds_of_attempts_add_up(tmp_path) -> None:
    recorded, path = runpy.run_path(str(SCRIPT))["recorded"], tmp_path / "a.json"
    path.write_text(json.dumps({"job": "a", "seconds": 50.0, "is_done": False}))
    with pytest.raises(ZeroDivisionError), recorded(path, "a") as goes_on:
        assert goes_on
        raise ZeroDivisionError
    record = json.loads(path.read_text())
    assert 50 <= record["seconds"] < 60 and record["is_done"] is False
    with recorded(path, "b") as goes_on:
        assert not goes_on
    assert json.loads(path.read_text())["seconds"] < 10


def test_each_job_has_a_gpu_of_its_own(tmp_path, monkeypatch) -> None:
    own_gpu = runpy.run_path(str(SCRIPT))["own_gpu"]
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with own_gpu():
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
        with own_gpu():
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"
    for path in tmp_path.glob("*.lock"):  # both are free again
        with open(path, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with own_gpu():
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
