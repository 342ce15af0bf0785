# SPDX-License-Identifier: Apache-2.0
"""Watches a classifier's training loss without holding up the device."""

from typing import Any

import torch

from medti_components.errors import TrainingError
from medti_components.handlers.loss_monitor import LossMonitor

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
