# SPDX-License-Identifier: Apache-2.0
"""Saves a classifier's training while it goes and restores it when it resumes."""

from typing import Any

from ignite.engine import Engine, Events

from medti_components.data.classification.classifier_images import ClassifierImages
from medti_components.engines.run_folder import RunFolder
from medti_components.engines.training_checkpoint import (
    TrainingCheckpoint,
    checkpoint_paths,
    load_optimizer_tensors,
    optimizer_tensors,
)
from medti_components.engines.training_events import CHECKPOINT_WANTED, LOSSES_WANTED
from medti_components.engines.training_history import TrainingHistory
from medti_components.errors import ConfigError


class ClassifierKeeper:
    """Writes ``checkpoints/step_<batches>.safetensors`` every ``interval`` batches and at the end; keeps the newest.

    A checkpoint holds the network, the optimiser's state, the loss scale of float16 and the history. Order and
    augmentation of the images need no place in it: they are functions of the batch. The losses are looked at first, so
    that no checkpoint follows one that was not finite.

    Args:
        run_folder: where checkpoints go, and the one to resume from.
        images: what the classifier learns from; resuming with others is an error.
        history: what has been measured so far.
        interval: batches between checkpoints; 0 saves at the end alone.
    """

    def __init__(
        self, run_folder: RunFolder, images: ClassifierImages, history: TrainingHistory, interval: int = 500
    ) -> None:
        self.run_folder = run_folder
        self.images = images
        self.history = history
        self.interval = interval

    def attach(self, engine: Engine) -> None:
        """Restore when ``engine`` starts, save while it runs and at its end."""
        engine.add_event_handler(Events.STARTED, self.restore)
        if self.interval > 0:
            engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self.save)
        engine.add_event_handler(CHECKPOINT_WANTED, self.save)
        engine.add_event_handler(Events.COMPLETED, self.save)

    def save(self, engine: Any) -> None:
        """Write a checkpoint of the batches done so far; none at the start.

        Raises:
            TrainingError: a loss was not finite; the last good checkpoint stays.
            OutputError: the file can't be written.
        """
        step = engine.state.iteration
        if step == 0:
            return
        engine.fire_event(LOSSES_WANTED)
        tensors = {f"network/{name}": tensor for name, tensor in engine.network.state_dict().items()}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in optimizer_tensors(engine.optimizer).items()}
        state = {
            "settings": self.run_folder.settings,
            "images": self.images.fingerprint,
            "scaler": None if engine.scaler is None else engine.scaler.state_dict(),
            "history": self.history.state_dict(),
        }
        TrainingCheckpoint(step, tensors, state).save(self.run_folder.checkpoints)
        for old in checkpoint_paths(self.run_folder.checkpoints)[:-1]:
            old.unlink(missing_ok=True)

    def restore(self, engine: Any) -> None:
        """Take over the run folder's checkpoint, if it has one.

        Raises:
            ConfigError: the images are not those of the checkpoint.
        """
        checkpoint = self.run_folder.checkpoint
        if checkpoint is None:
            return
        if checkpoint.state["images"] != self.images.fingerprint:
            raise ConfigError(
                f"dataset_dir or synthetic_dir holds other images than the checkpoint in '{self.run_folder.path}' was "
                "made with: set them back, or choose another --output_dir"
            )
        engine.network.load_state_dict(checkpoint.part("network"))
        load_optimizer_tensors(engine.optimizer, checkpoint.part("optimizer"))
        if engine.scaler is not None and checkpoint.state["scaler"]:
            engine.scaler.load_state_dict(checkpoint.state["scaler"])
        self.history.load_state_dict(checkpoint.state["history"])
        engine.state.iteration = checkpoint.step
        engine.state.epoch = checkpoint.step // (engine.state.epoch_length or 1)
