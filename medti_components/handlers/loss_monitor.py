# SPDX-License-Identifier: Apache-2.0
"""Watches the losses: those of training without holding up the device, and those on held-out images."""

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from medti_components.engines.held_out_loss import HeldOutLoss
from medti_components.engines.training_history import TrainingHistory
from medti_components.errors import TrainingError

if TYPE_CHECKING:
    from monai.engines import Evaluator
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

LOSSES_WANTED = "losses_wanted"
"""Event on which the losses of the steps so far are looked at."""

REMEDY = "lower --{}learning_rate, or set --dtype float32, and begin anew, without --resume"
"""A checkpoint is resumed with its own settings alone."""

SERIES = "<classifier>"
"""What a classifier's series are called in a history."""


class LossMonitor:
    """Collects each step's losses on the device and looks at them every ``interval`` steps, in one transfer.

    A look writes each concept's mean loss and mean row norm to the history, TensorBoard and ``engine.state.metrics``,
    and stops the run when a loss or a row is not finite, naming the step and the concept.

    Args:
        history: takes "training_loss" and "row_norm".
        interval: steps between two looks.
        summary_writer: TensorBoard's, or None.
    """

    def __init__(
        self, history: TrainingHistory, interval: int = 10, summary_writer: "SummaryWriter | None" = None
    ) -> None:
        self.history = history
        self.interval = interval
        self.summary_writer = summary_writer
        self._losses: list[Tensor] = []

    def attach(self, engine: Engine) -> None:
        """Look at the losses while ``engine`` runs, when another handler wants it, and once more at the end."""
        engine.register_events(LOSSES_WANTED)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(LOSSES_WANTED, self.flush)
        engine.add_event_handler(Events.COMPLETED, self.flush)

    def __call__(self, engine: Engine) -> None:
        """Take the losses of the step that has just been done."""
        self._losses.append(engine.state.output["loss"].detach())  # type: ignore[index, call-overload]
        if engine.state.iteration % self.interval == 0:
            self.flush(engine)

    def flush(self, engine: Engine) -> None:
        """Look at the losses since the last look.

        Raises:
            TrainingError: a loss or a row is not finite.
        """
        if self._losses:
            losses = torch.stack(self._losses).double().cpu()
            self._losses = []
            self._look(engine, losses, engine.state.iteration)

    def _look(self, engine: Any, losses: Tensor, last: int) -> None:
        """Check and record ``losses`` (steps, concepts), of which the newest is of step ``last``."""
        network = engine.network
        for step, step_losses in enumerate(losses.tolist(), start=last - len(losses) + 1):
            for token, loss in zip(network.tokens, step_losses, strict=True):
                if not math.isfinite(loss):
                    raise TrainingError(f"loss of '{token}' is {loss} in step {step}: {REMEDY.format('')}")
        for token, loss in zip(network.tokens, losses.mean(dim=0).tolist(), strict=True):
            norm = network[token].rows.detach().norm(dim=1).mean().item()
            if not math.isfinite(norm):
                raise TrainingError(f"rows of '{token}' are not finite after step {last}: {REMEDY.format('')}")
            for quantity, value in (("training_loss", loss), ("row_norm", norm)):
                self.history.add(quantity, token, last, value)
                self._show(f"{quantity}/{token}", value, last)
            engine.state.metrics[f"loss {token}"] = loss
        self._show("learning_rate", engine.optimizer.param_groups[0]["lr"], last)

    def _show(self, name: str, value: float, step: int) -> None:
        if self.summary_writer is not None:
            self.summary_writer.add_scalar(name, value, step)


class ClassifierLossMonitor(LossMonitor):
    """Does the same for a classifier, whose steps are batches with one loss each.

    A look writes the mean loss to the history, TensorBoard and ``engine.state.metrics``, and stops the run when a loss
    was not finite. Arguments are those of :class:`LossMonitor`.
    """

    def _look(self, engine: Any, losses: Tensor, last: int) -> None:
        """Check and record ``losses`` (batches,), of which the newest is of batch ``last``."""
        bad = (~torch.isfinite(losses)).nonzero().flatten()
        if len(bad):
            raise TrainingError(
                f"the classifier's loss is {losses[bad[0]].item()} in batch {last - len(losses) + 1 + int(bad[0])}: "
                f"{REMEDY.format('classifier_')}"
            )
        loss = losses.mean().item()
        self.history.add("training_loss", SERIES, last, loss)
        engine.state.metrics[f"loss {SERIES}"] = loss
        self._show("training_loss", loss, last)


class HeldOutLossSaver:
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
        latest = [self.history.latest("held_out_loss", token) for token in self.held_out_loss.concepts]
        if any(point is None or point[0] != engine.state.iteration for point in latest):
            self(engine)
        for token in self.held_out_loss.concepts:
            _, loss = self.history.latest("held_out_loss", token) or (0, float("nan"))
            logger.info(
                "held-out loss of %s: %.4f (initial rows %.4f, empty prompt %.4f)",
                token,
                loss,
                self.history.references.get("initial rows", {}).get(token, float("nan")),
                self.history.references.get("empty prompt", {}).get(token, float("nan")),
            )
