# SPDX-License-Identifier: Apache-2.0
"""Saves a training run while it goes and restores it when it resumes."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from ignite.handlers.checkpoint import BaseSaveHandler

from medti_components.engines.run_folder import (
    CHECKPOINT_PREFIX,
    RunFolder,
    checkpoint_paths,
    checkpoint_step,
    load_checkpoint,
    save_checkpoint,
)
from medti_components.errors import ConfigError
from medti_components.handlers.loss_monitor import LOSSES_WANTED

logger = logging.getLogger(__name__)

CHECKPOINT_WANTED = "checkpoint_wanted"
"""Event on which a checkpoint is saved at once."""


class CheckpointHandler:
    """Writes ``<folder>/step_<step>.safetensors`` at intervals and at the end by ignite's ``Checkpoint``.

    Random streams need no place in a checkpoint: they are functions of the step. The losses are looked at first, so
    that no checkpoint follows one that was not finite. An old file goes once the new one is whole.

    Args:
        folder: of the checkpoints.
        save_dict: what is saved, by name: all that has ``state_dict`` and ``load_state_dict``. The loss scale of
            float16 is saved too.
        interval: steps between checkpoints; 0 saves at the end alone.
        num_kept: how many files to keep.
        resume: take over the folder's newest checkpoint when training starts.
        run_folder: its settings and sources are written to the file, for it to compare them before a run resumes.

    Raises:
        ConfigError: num_kept is below 1.
    """

    def __init__(
        self,
        folder: str | Path,
        save_dict: Mapping[str, Any],
        interval: int = 500,
        num_kept: int = 1,
        resume: bool = True,
        run_folder: RunFolder | None = None,
    ) -> None:
        if num_kept < 1:
            raise ConfigError(f"num_kept must be 1 or more, got {num_kept}")
        self.folder = Path(folder)
        self.save_dict = save_dict
        self.interval = interval
        self.num_kept = num_kept
        self.resume = resume
        self.run_folder = run_folder
        self._checkpoint: Checkpoint | None = None

    def attach(self, engine: Engine) -> None:
        """Restore when ``engine`` starts, save while it runs and at its end."""
        engine.register_events(LOSSES_WANTED, CHECKPOINT_WANTED)
        engine.add_event_handler(Events.STARTED, self.restore)
        if self.interval > 0:
            engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self.save)
        engine.add_event_handler(CHECKPOINT_WANTED, self.save)
        engine.add_event_handler(Events.COMPLETED, self.save)

    def restore(self, engine: Any) -> None:
        """Take over the newest checkpoint, if there is one and it is wanted.

        An engine that starts again, as in each round of federated learning, goes on with the weights that it has.

        Raises:
            TrainingError: the file can't be read.
        """
        if self._checkpoint is not None:
            return
        run = self.run_folder
        facts = {} if run is None else {"settings": run.settings, "sources": run.sources}
        saver = SafetensorsSaver(self.folder, facts)
        to_save = dict(self.save_dict)
        if engine.scaler is not None:
            to_save["scaler"] = engine.scaler
        self._checkpoint = Checkpoint(
            to_save,
            saver,
            filename_pattern=CHECKPOINT_PREFIX + "{global_step:08d}.safetensors",
            global_step_transform=lambda engine, event: engine.state.iteration,
            n_saved=self.num_kept,
            greater_or_equal=True,
        )
        paths = checkpoint_paths(self.folder)
        kept = paths[-self.num_kept :] if self.resume else []
        saver.outdated = {path.name for path in paths if path not in kept}
        if not kept:
            return
        newest, step = kept[-1], checkpoint_step(kept[-1])
        Checkpoint.load_objects(to_save, load_checkpoint(newest))
        self._checkpoint.load_state_dict({"_saved": [(checkpoint_step(path), path.name) for path in kept]})
        engine.state.iteration = step
        engine.state.epoch = step // (engine.state.epoch_length or 1)
        logger.info("resuming from '%s', step %d", newest, step)

    def save(self, engine: Any) -> None:
        """Write a checkpoint of the steps done so far; none at step 0.

        Raises:
            TrainingError: a loss was not finite; the last good checkpoint stays.
            OutputError: the file can't be written.
        """
        if self._checkpoint is not None and engine.state.iteration > 0:
            engine.fire_event(LOSSES_WANTED)
            self._checkpoint(engine)


class SafetensorsSaver(BaseSaveHandler):
    """Ignite's save handler for safetensors: writes in one piece, and removes old files afterwards.

    Args:
        folder: of the files.
        facts: written to each file beside the state.

    Attributes:
        outdated: names of files to be removed with the next one that is written.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        self.facts = facts
        self.outdated: set[str] = set()

    def __call__(self, checkpoint: Mapping[str, Any], filename: str, metadata: Mapping[str, Any] | None = None) -> None:
        """Write ``checkpoint`` to ``filename``."""
        save_checkpoint(self.folder / filename, checkpoint, self.facts)
        for name in self.outdated - {filename}:
            (self.folder / name).unlink(missing_ok=True)
        self.outdated = set()

    def remove(self, filename: str) -> None:
        """Have a file removed once the next one is whole."""
        self.outdated.add(filename)
