# SPDX-License-Identifier: Apache-2.0
"""Saves a training run while it goes and restores it when it resumes."""

import logging
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Engine, Events
from torch.optim.lr_scheduler import LRScheduler

from medti_components.data.latent_cache import LatentCache
from medti_components.engines.run_folder import RunFolder
from medti_components.engines.training_checkpoint import (
    TrainingCheckpoint,
    checkpoint_paths,
    load_optimizer_tensors,
    optimizer_tensors,
)
from medti_components.engines.training_events import CHECKPOINT_WANTED, LOSSES_WANTED
from medti_components.engines.training_history import TrainingHistory
from medti_components.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

logger = logging.getLogger(__name__)


class CheckpointKeeper:
    """Writes ``checkpoints/step_<step>.safetensors`` every ``interval`` steps and at the end; keeps the last few.

    A checkpoint holds the rows, the optimiser's state, the learning rate's position, the loss scale of float16 and the
    history. The random streams need no place in it: they are functions of the step. The losses are looked at first, so
    that no checkpoint follows one that was not finite.

    Args:
        run_folder: where checkpoints go, and the one to resume from.
        model: the base model; resuming on another one is an error.
        latents: the training images; resuming with others is an error.
        history: what has been measured so far.
        scheduler: the learning rate's.
        interval: steps between checkpoints; 0 saves at the end alone.
        num_kept: how many to keep.
    """

    def __init__(
        self,
        run_folder: RunFolder,
        model: "FrozenLatentDiffusion",
        latents: LatentCache,
        history: TrainingHistory,
        scheduler: LRScheduler,
        interval: int = 500,
        num_kept: int = 2,
    ) -> None:
        if num_kept < 1:
            raise ConfigError(f"num_kept must be 1 or more, got {num_kept}")
        self.run_folder = run_folder
        self.model = model
        self.latents = latents
        self.history = history
        self.scheduler = scheduler
        self.interval = interval
        self.num_kept = num_kept

    def attach(self, engine: Engine) -> None:
        """Restore when ``engine`` starts, save while it runs and at its end."""
        engine.add_event_handler(Events.STARTED, self.restore)
        if self.interval > 0:
            engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self.save)
        engine.add_event_handler(CHECKPOINT_WANTED, self.save)
        engine.add_event_handler(Events.COMPLETED, self.save)

    def save(self, engine: Any) -> None:
        """Write a checkpoint of the steps done so far; none at step 0.

        Raises:
            TrainingError: a loss or a row is not finite; the last good checkpoint stays.
            OutputError: the file can't be written.
        """
        step = engine.state.iteration
        if step == 0:
            return
        engine.fire_event(LOSSES_WANTED)
        for embedding in engine.network:
            if not bool(torch.isfinite(embedding.rows).all()):
                raise TrainingError(
                    f"rows of '{embedding.token}' are not finite after step {step}: lower learning_rate or use "
                    "--dtype float32, then go on from the last checkpoint with --resume true"
                )
        tensors = {f"network/{name}": tensor for name, tensor in engine.network.state_dict().items()}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in optimizer_tensors(engine.optimizer).items()}
        state = {
            "settings": self.run_folder.settings,
            "sources": self._sources(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": None if engine.scaler is None else engine.scaler.state_dict(),
            "history": self.history.state_dict(),
        }
        TrainingCheckpoint(step, tensors, state).save(self.run_folder.checkpoints)
        for old in checkpoint_paths(self.run_folder.checkpoints)[: -self.num_kept]:
            old.unlink(missing_ok=True)

    def restore(self, engine: Any) -> None:
        """Take over the run folder's checkpoint, if it has one.

        Raises:
            ConfigError: base model or training images are not those of the checkpoint.
        """
        checkpoint = self.run_folder.checkpoint
        if checkpoint is None:
            return
        for key, now in self._sources().items():
            if checkpoint.state["sources"].get(key) != now:
                raise ConfigError(
                    f"{key} is not the one that the checkpoint in '{self.run_folder.path}' was made with: "
                    f"set --{key} back, or choose another --output_dir"
                )
        engine.network.load_state_dict(checkpoint.part("network"))
        load_optimizer_tensors(engine.optimizer, checkpoint.part("optimizer"))
        self.scheduler.load_state_dict(dict(checkpoint.state["scheduler"]))
        for group, rate in zip(engine.optimizer.param_groups, self.scheduler.get_last_lr(), strict=True):
            group["lr"] = rate
        if engine.scaler is not None and checkpoint.state["scaler"]:
            engine.scaler.load_state_dict(checkpoint.state["scaler"])
        self.history.load_state_dict(checkpoint.state["history"])
        engine.state.iteration = checkpoint.step
        engine.state.epoch = checkpoint.step // (engine.state.epoch_length or 1)

    def _sources(self) -> dict[str, str]:
        return {"base_model": self.model.fingerprint, "dataset_dir": self.latents.fingerprint}
