# SPDX-License-Identifier: Apache-2.0
"""Keeps the held-out loss beside what it has to beat."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ignite.engine import Engine, Events

from medti_components.engines.held_out_loss import HeldOutLoss
from medti_components.engines.training_history import TrainingHistory

if TYPE_CHECKING:
    from monai.engines import Evaluator
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)


class HeldOutLossRecorder:
    """Runs the evaluator at intervals and writes ``held_out_loss.json``, ``held_out_loss.csv`` and TensorBoard scalars.

    Before the first step it measures two references: the empty prompt's loss and the initial rows'. A resumed run has
    them from its checkpoint.

    Args:
        held_out_loss: measures the references.
        evaluator: measures the current rows; MONAI's SupervisedEvaluator with ``held_out_loss`` as iteration_update.
        history: takes "held_out_loss" and the references.
        output_dir: where the files go.
        interval: steps between two measurements; one more is made at the end.
        summary_writer: TensorBoard's, or None.
    """

    def __init__(
        self,
        held_out_loss: HeldOutLoss,
        evaluator: "Evaluator",
        history: TrainingHistory,
        output_dir: str | Path,
        interval: int,
        summary_writer: "SummaryWriter | None" = None,
    ) -> None:
        self.held_out_loss = held_out_loss
        self.evaluator = evaluator
        self.history = history
        self.output_dir = Path(output_dir)
        self.interval = interval
        self.summary_writer = summary_writer

    def attach(self, engine: Engine) -> None:
        """Measure while ``engine`` runs and at its end; does nothing when no concept has held-out images."""
        if not self.held_out_loss.concepts or self.interval < 1:
            return
        engine.add_event_handler(Events.EPOCH_STARTED, self._measure_references)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self)
        engine.add_event_handler(Events.COMPLETED, self._measure_last)

    def __call__(self, engine: Engine) -> None:
        """Measure the current rows."""
        step = engine.state.iteration
        self.evaluator.run()
        for token in self.held_out_loss.concepts:
            loss = self.evaluator.state.metrics[f"held_out_loss {token}"]
            self.history.add("held_out_loss", token, step, loss)
            if self.summary_writer is not None:
                self.summary_writer.add_scalar(f"held_out_loss/{token}", loss, step)
        self.history.write_held_out_loss(self.output_dir)

    def _measure_references(self, engine: Engine) -> None:
        if engine.state.iteration > 0 or self.history.references:
            return
        self(engine)
        initial = {
            token: self.evaluator.state.metrics[f"held_out_loss {token}"] for token in self.held_out_loss.concepts
        }
        empty = {token: self.held_out_loss.of_empty_prompt(token) for token in self.held_out_loss.concepts}
        self.history.references = {"initial rows": initial, "empty prompt": empty}
        if self.summary_writer is not None:
            for token, loss in empty.items():
                self.summary_writer.add_scalar(f"held_out_loss_of_empty_prompt/{token}", loss, 0)
        self.history.write_held_out_loss(self.output_dir)

    def _measure_last(self, engine: Engine) -> None:
        self._measure_references(engine)
        for token in self.held_out_loss.concepts:
            latest = self.history.latest("held_out_loss", token)
            if latest is None or latest[0] != engine.state.iteration:
                self(engine)
                break
        for token in self.held_out_loss.concepts:
            _, loss = self.history.latest("held_out_loss", token) or (0, float("nan"))
            logger.info(
                "held-out loss of %s: %.4f (initial rows %.4f, empty prompt %.4f)",
                token,
                loss,
                self.history.references.get("initial rows", {}).get(token, float("nan")),
                self.history.references.get("empty prompt", {}).get(token, float("nan")),
            )
