# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

GPU = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(GPU))


@pytest.mark.usefixtures("scripts")
def test_networks_on_the_reference_device_differ_by_their_precision_alone(tmp_path):
    import right
    from results import Results

    results = Results(tmp_path / "right.json", "cpu")
    right.compare_networks(results, "cpu")
    rows = json.loads((tmp_path / "right.json").read_text())["rows"]
    assert len(rows) == 4 * len(right.PRECISIONS) and all(row["passed"] for row in rows)
    assert all(row["value"] == 0 for row in rows if "float32" in row["check"])


@pytest.mark.usefixtures("scripts")
def test_a_check_that_fails_is_a_row_and_the_next_goes_on(tmp_path):
    from results import Results, as_markdown

    results = Results(tmp_path / "some.json", "cpu")

    def fail():
        raise ValueError("first line\nno such thing")

    results.attempt("one", fail)
    results.add("two", 0.25, "s", 0.2)
    one, two = json.loads((tmp_path / "some.json").read_text())["rows"]
    assert one["value"] == "ValueError: no such thing" and not one["passed"] and not two["passed"]
    assert "| some | CPU | two | 0.25 s | 0.2 | no |" in as_markdown(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("scripts")
def test_the_bundle_s_configs_run_on_stable_diffusion_2_of_an_eighth_of_the_width_without_simpleitk(tmp_path):
    (tmp_path / "SimpleITK.py").write_text("raise ImportError('radiographs need no SimpleITK')\n")
    path = tmp_path / "runs.json"
    command = [sys.executable, GPU / "stable_diffusion_2_runs.py", "--output", path, "--device", "cpu", "--scale", "8"]
    command += ["--max_steps", "1", "--num_inference_steps", "2", "--num_images", "1", "--overlays", "default"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(GPU.parents[1])])}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    rows = json.loads(path.read_text())["rows"]
    assert [row["check"] for row in rows][1:] == ["training, default, in all", "generating, default, in all"]


def test_the_script_names_an_argument_it_does_not_know(tmp_path):
    command = ["bash", GPU / "run.sh", "--output", tmp_path, "everything"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 2 and "unknown argument 'everything'" in found.stderr
