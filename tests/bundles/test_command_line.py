# SPDX-License-Identifier: Apache-2.0
"""The true command line: one command in an interpreter of its own, the others forked, since a start takes seconds."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked_commands
import pytest
import torch
from configs_of_bundles import PROSTATE, REPOSITORY

from medti_components.networks.embedding_files.embedding_file import save_embedding

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(REPOSITORY),
    "PYTHONWARNINGS": "ignore:parsing config_file:UserWarning",  # as the Makefile does
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


def arguments(*command, **keys):
    pairs = [text for key, value in keys.items() for text in (f"--{key}", str(value))]
    return [sys.executable, "-m", *command, *pairs]


def finished(*command, cwd, run=forked_commands.run, **keys):
    return run(arguments(*command, **keys), cwd=cwd, env=ENVIRONMENT)


def run_in_new_interpreter(command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_misspelt_key_is_one_line_and_status_1_wherever_it_is_run(tmp_path):
    config = PROSTATE / "train.json"
    command = ("monai.bundle", "run", "training")
    result = finished(*command, cwd=tmp_path, run=run_in_new_interpreter, config_file=config, max_stpes=3)
    assert result.stderr == "error: unknown key 'max_stpes': did you mean 'max_steps'?\n"
    assert result.returncode == 1


def test_truncated_volume_is_one_line_and_status_1(training, damaged_picai, tmp_path):
    path = next(damaged_picai.glob("images/*/*_t2w.mha"))
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])
    keys = {**training, "dataset_dir": damaged_picai, "cache_dir": tmp_path / "cache"}
    result = finished("monai.bundle", "run", "training", cwd=tmp_path, config_file=PROSTATE / "train.json", **keys)
    assert result.stderr.splitlines()[-1].startswith(f"error: '{path}' is unreadable or truncated")
    assert "Traceback" not in result.stdout + result.stderr
    assert "error" not in result.stdout.lower()
    assert result.returncode == 1


@pytest.mark.parametrize(
    ("typed", "arrived"),
    [
        ("<a_word>, frontal, 5 mm", ["<a_word>, frontal, 5 mm"]),
        ("['<a_word>', {'<a_word>': 0.5, 'frontal, 5 mm': 1}]", ["<a_word>", "<a_word> :0.5 AND frontal, 5 mm :1"]),
    ],
)
def test_real_prompts_arrive_as_they_were_typed(micro_base, tmp_path, typed, arrived):
    save_embedding(tmp_path / "words" / "a_word.safetensors", "<a_word>", torch.zeros(2, 32), {"base_model": "a base"})
    result = finished(
        "monai.bundle",
        "run",
        "generating",
        cwd=tmp_path,
        config_file=PROSTATE / "inference.json",
        base_model=micro_base,
        embeddings=tmp_path / "words",
        output_dir="out",
        num_images=1,
        num_inference_steps=1,
        prompt=typed,
        show_progress="false",
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    pictures = (Path("out", "images"), Path("out", "contact_sheet.png"))
    assert result.stdout.splitlines()[-1] == "INFO the pictures are in '{}', many on one page in '{}'".format(*pictures)
    assert all((tmp_path / path).exists() for path in pictures)
    lines = (tmp_path / "out" / "provenance.jsonl").read_text().splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == arrived


def test_misspelt_command_is_one_line_and_status_1(tmp_path):
    result = finished("medti_components", "phantom", cwd=tmp_path)
    assert (result.stderr, result.returncode) == ("error: unknown command 'phantom': did you mean 'phantoms'?\n", 1)


@pytest.mark.slow
def test_interruption_leaves_a_checkpoint_and_one_line(training, tmp_path):
    keys = {**training, "max_steps": 100000, "checkpoint_interval": 5}
    command = arguments("monai.bundle", "run", "training", config_file=PROSTATE / "train.json", **keys)
    process = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not [*training["output_dir"].glob("checkpoints/*")] and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert stderr.splitlines()[-1].startswith("error: stopped by SIGINT after step")
    assert "--resume true" in stderr
    assert "Traceback" not in stderr
    assert process.returncode == 1
