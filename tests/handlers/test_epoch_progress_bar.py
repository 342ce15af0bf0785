# SPDX-License-Identifier: Apache-2.0
import pytest
from ignite.engine import Engine

from medti_components.handlers.training_progress import EpochProgressBar


def test_shows_epochs_on_stderr_and_nothing_when_silent(capsys: pytest.CaptureFixture[str]) -> None:
    for show_progress in (True, False):
        engine = Engine(lambda engine, batch: None)
        EpochProgressBar("classifier", show_progress).attach(engine)
        engine.run([0, 1], max_epochs=3)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert ("classifier" in captured.err and "3/3" in captured.err) == show_progress
