# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from ignite.engine import Engine
from training_run import build_run

from medti_components.handlers.progress_bar import ProgressBar
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def test_the_bar_shows_steps_and_losses_on_stderr(
    micro_model: FrozenLatentDiffusion, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    build_run(micro_model, tmp_path, handlers=(ProgressBar(),)).run()

    captured = capfd.readouterr()
    assert "training: 100%" in captured.err and "4/4" in captured.err
    assert "negative=" in captured.err and "positive=" in captured.err
    assert captured.out == ""


def test_a_resumed_bar_starts_where_the_run_resumes(
    micro_model: FrozenLatentDiffusion, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    build_run(micro_model, tmp_path, max_steps=2).run()
    capfd.readouterr()
    build_run(micro_model, tmp_path, max_steps=4, resume=True, handlers=(ProgressBar(),)).run()

    assert "2/4" in capfd.readouterr().err


def test_silence_when_no_progress_is_wanted(
    micro_model: FrozenLatentDiffusion, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    build_run(micro_model, tmp_path, handlers=(ProgressBar(show_progress=False),)).run()

    assert "training" not in capfd.readouterr().err


def test_shows_epochs_on_stderr_and_nothing_when_silent(capsys: pytest.CaptureFixture[str]) -> None:
    for show_progress in (True, False):
        engine = Engine(lambda engine, batch: None)
        ProgressBar("classifier", show_progress, unit="epoch").attach(engine)
        engine.run([0, 1], max_epochs=3)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert ("classifier" in captured.err and "3/3" in captured.err) == show_progress
