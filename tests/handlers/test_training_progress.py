# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from training_run import build_run

from medti_components.handlers.training_progress import TrainingProgress
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def test_the_bar_shows_steps_and_losses_on_stderr(
    micro_model: FrozenLatentDiffusion, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    build_run(micro_model, tmp_path, handlers=(TrainingProgress(),)).run()

    captured = capfd.readouterr()
    assert "training: 100%" in captured.err and "4/4" in captured.err
    assert "negative=" in captured.err and "positive=" in captured.err
    assert captured.out == ""


def test_a_resumed_bar_starts_where_the_run_resumes(
    micro_model: FrozenLatentDiffusion, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    build_run(micro_model, tmp_path, max_steps=2).run()
    capfd.readouterr()
    build_run(micro_model, tmp_path, max_steps=4, resume=True, handlers=(TrainingProgress(),)).run()

    assert "2/4" in capfd.readouterr().err


def test_silence_when_no_progress_is_wanted(
    micro_model: FrozenLatentDiffusion, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    build_run(micro_model, tmp_path, handlers=(TrainingProgress(show_progress=False),)).run()

    assert "training" not in capfd.readouterr().err
