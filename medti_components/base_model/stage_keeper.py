# SPDX-License-Identifier: Apache-2.0
"""Saves one stage of a training from scratch while it goes, and restores it."""

import logging
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from medti_components.engines.training_checkpoint import (
    TrainingCheckpoint,
    checkpoint_paths,
    load_optimizer_tensors,
    optimizer_tensors,
)

logger = logging.getLogger(__name__)


class StageKeeper:
    """Writes ``folder/step_<step>.safetensors`` every ``interval`` steps and at the end, and keeps the newest.

    A checkpoint holds the network, the optimiser's state, the moving average where there is one, and the learning
    rate's position. Random streams need no place in it: they are functions of the step.

    Args:
        folder: the stage's own.
        scheduler: the learning rate's.
        averaged: the moving average of the network, or None.
        interval: steps between checkpoints.
        resume: go on from the newest checkpoint; a finished stage is then left as it is.
    """

    def __init__(
        self,
        folder: str | Path,
        scheduler: LRScheduler,
        averaged: AveragedModel | None = None,
        interval: int = 250,
        resume: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.scheduler = scheduler
        self.averaged = averaged
        self.interval = interval
        self.resume = resume

    def attach(self, engine: Engine) -> None:
        """Restore when ``engine`` starts; save while it runs and at its end."""
        engine.add_event_handler(Events.STARTED, self.restore)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self.save)
        engine.add_event_handler(Events.COMPLETED, self.save)

    def save(self, engine: Any) -> None:
        """Write a checkpoint of the steps done so far and delete older ones."""
        tensors = _prefixed("network", engine.network) | {
            f"optimizer/{name}": tensor for name, tensor in optimizer_tensors(engine.optimizer).items()
        }
        if self.averaged is not None:
            tensors |= _prefixed("averaged", self.averaged)
        TrainingCheckpoint(engine.state.iteration, tensors, {"scheduler": self.scheduler.state_dict()}).save(
            self.folder
        )
        for old in checkpoint_paths(self.folder)[:-1]:
            old.unlink(missing_ok=True)

    def restore(self, engine: Any) -> None:
        """Take over the newest checkpoint, if there is one and it is wanted."""
        paths = checkpoint_paths(self.folder)
        if not self.resume or not paths:
            return
        checkpoint = TrainingCheckpoint.load(paths[-1])
        engine.network.load_state_dict(checkpoint.part("network"))
        if self.averaged is not None:
            self.averaged.load_state_dict(checkpoint.part("averaged"))
        load_optimizer_tensors(engine.optimizer, checkpoint.part("optimizer"))
        self.scheduler.load_state_dict(dict(checkpoint.state["scheduler"]))
        for group, rate in zip(engine.optimizer.param_groups, self.scheduler.get_last_lr(), strict=True):
            group["lr"] = rate
        engine.state.iteration = checkpoint.step
        engine.state.epoch = checkpoint.step // (engine.state.epoch_length or 1)
        logger.info("resuming from '%s', step %d", paths[-1], checkpoint.step)


def _prefixed(prefix: str, network: nn.Module) -> dict[str, Any]:
    return {f"{prefix}/{name}": tensor for name, tensor in network.state_dict().items()}
