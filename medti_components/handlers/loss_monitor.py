# SPDX-License-Identifier: Apache-2.0
"""Watches the training loss without holding up the device."""

import math
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from medti_components.engines.training_events import LOSSES_WANTED
from medti_components.engines.training_history import TrainingHistory
from medti_components.errors import TrainingError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class LossMonitor:
    """Collects each step's losses on the device and looks at them every ``interval`` steps, in one transfer.

    A look writes each concept's mean loss and mean row norm to the history, TensorBoard and ``engine.state.metrics``,
    and stops the run when a loss was not finite, naming the very step and concept.

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
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(LOSSES_WANTED, self.flush)
        engine.add_event_handler(Events.COMPLETED, self.flush)

    def __call__(self, engine: Engine) -> None:
        """Take the losses of the step that has just been done."""
        self._losses.append(engine.state.output["loss"].detach())  # type: ignore[index, call-overload]
        if engine.state.iteration % self.interval == 0:
            self.flush(engine)

    def flush(self, engine: Engine) -> None:
        """Look at the losses that have come together.

        Raises:
            TrainingError: a loss was not finite.
        """
        if not self._losses:
            return
        network = engine.network  # type: ignore[attr-defined]
        losses = torch.stack(self._losses).double().cpu()
        self._losses = []
        last = engine.state.iteration
        first = last - len(losses) + 1
        for offset, step_losses in enumerate(losses.tolist()):
            for token, loss in zip(network.tokens, step_losses, strict=True):
                if not math.isfinite(loss):
                    raise TrainingError(
                        f"loss of '{token}' is {loss} in step {first + offset}: lower learning_rate or use "
                        "--dtype float32, then go on from the last checkpoint with --resume true"
                    )
        for token, loss in zip(network.tokens, losses.mean(dim=0).tolist(), strict=True):
            norm = network[token].rows.detach().norm(dim=1).mean().item()
            for quantity, value in (("training_loss", loss), ("row_norm", norm)):
                self.history.add(quantity, token, last, value)
                if self.summary_writer is not None:
                    self.summary_writer.add_scalar(f"{quantity}/{token}", value, last)
            engine.state.metrics[f"loss {token}"] = loss
        if self.summary_writer is not None:
            self.summary_writer.add_scalar("learning_rate", engine.optimizer.param_groups[0]["lr"], last)  # type: ignore[attr-defined]


SERIES = "<classifier>"
"""What a classifier's series are called in a history."""


class ClassifierLossMonitor(LossMonitor):
    """Collects each batch's loss on the device and looks at them every ``interval`` batches, in one transfer.

    A look writes the mean loss to history, TensorBoard and ``engine.state.metrics``, and stops the run when a loss was
    not finite.

    Args:
        history: takes "training_loss".
        interval: batches between two looks.
        summary_writer: TensorBoard's, or None.
    """

    def flush(self, engine: Any) -> None:
        """Look at the losses that have come together.

        Raises:
            TrainingError: a loss was not finite.
        """
        if not self._losses:
            return
        losses = torch.stack(self._losses).double().cpu()
        self._losses = []
        last = engine.state.iteration
        bad = (~torch.isfinite(losses)).nonzero().flatten()
        if len(bad):
            raise TrainingError(
                f"the classifier's loss is {losses[bad[0]].item()} in batch {last - len(losses) + 1 + int(bad[0])}: "
                "lower classifier_learning_rate or use --dtype float32, then go on from the last checkpoint with "
                "--resume true"
            )
        loss = losses.mean().item()
        self.history.add("training_loss", SERIES, last, loss)
        engine.state.metrics[f"loss {SERIES}"] = loss
        if self.summary_writer is not None:
            self.summary_writer.add_scalar("training_loss", loss, last)
