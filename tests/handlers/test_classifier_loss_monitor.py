# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from ignite.engine import Engine, Events

from medti_components.engines.training_history import TrainingHistory
from medti_components.errors import TrainingError
from medti_components.handlers.loss_monitor import LOSSES_WANTED, SERIES, ClassifierLossMonitor


def run(losses, interval):
    history = TrainingHistory()
    engine = Engine(lambda engine, loss: {"loss": torch.tensor(loss)})
    ClassifierLossMonitor(history, interval).attach(engine)
    engine.run(losses)
    return history, engine


def test_means_of_the_losses_between_two_looks() -> None:
    history, engine = run([1.0, 3.0, 5.0, 7.0, 9.0], interval=2)
    assert history.points("training_loss", SERIES) == [(2, 2.0), (4, 6.0), (5, 9.0)]
    assert engine.state.metrics[f"loss {SERIES}"] == 9.0


@pytest.mark.parametrize("interval", [1, 10])
def test_loss_that_is_not_finite_stops_the_run_and_names_the_batch(interval) -> None:
    with pytest.raises(
        TrainingError,
        match="^the classifier's loss is nan in batch 3: lower --classifier_learning_rate, or set --dtype float32",
    ):
        run([1.0, 2.0, float("nan"), 4.0], interval)


def test_others_may_ask_for_a_look() -> None:
    history = TrainingHistory()
    engine = Engine(lambda engine, loss: {"loss": torch.tensor(loss)})
    ClassifierLossMonitor(history, 100).attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: engine.fire_event(LOSSES_WANTED))
    engine.run([1.0, 2.0])
    assert history.points("training_loss", SERIES) == [(1, 1.0), (2, 2.0)]
