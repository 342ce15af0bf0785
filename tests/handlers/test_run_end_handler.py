# SPDX-License-Identifier: Apache-2.0
import signal
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from training_run import build_run, final_rows

from medti_components.errors import TrainingError
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


class RaisesSignal:
    """A handler that sends this process a signal at the beginning of one step."""

    def __init__(self, number: signal.Signals, step: int) -> None:
        self.number = number
        self.step = step

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED(once=self.step), lambda: signal.raise_signal(self.number))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_a_checkpoint_after_the_step_under_way(
    micro_model: FrozenLatentDiffusion, tmp_path: Path, number: signal.Signals
) -> None:
    changes = {"max_steps": 6, "checkpoint_interval": 0}
    handler_before = signal.getsignal(number)
    stopped = build_run(micro_model, tmp_path / "stopped", handlers=(RaisesSignal(number, 3),), **changes)
    with pytest.raises(TrainingError) as raised:
        stopped.run()
    assert str(raised.value) == (f"stopped by {number.name} after step 3, checkpoint saved: go on with --resume true")
    assert signal.getsignal(number) is handler_before

    resumed = build_run(micro_model, tmp_path / "stopped", resume=True, **changes)
    unbroken = build_run(micro_model, tmp_path / "unbroken", **changes)
    resumed.run()
    unbroken.run()

    for token, rows in final_rows(unbroken).items():
        assert torch.equal(final_rows(resumed)[token], rows)


def test_handlers_of_signals_are_put_back_after_the_run(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    build_run(micro_model, tmp_path).run()

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_exception_is_passed_on_as_it_is(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    trainer = build_run(micro_model, tmp_path)
    trainer.prepare_batch = None

    with pytest.raises(TypeError, match="not callable"):
        trainer.run()
