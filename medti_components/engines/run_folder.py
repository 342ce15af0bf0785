# SPDX-License-Identifier: Apache-2.0
"""The folder that a training run leaves its results in, begun or gone on with."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medti_components.engines.training_checkpoint import TrainingCheckpoint, checkpoint_paths
from medti_components.errors import ConfigError
from medti_components.files import ensure_writable_directory, write_text_atomically

logger = logging.getLogger(__name__)

CONFIG_NAME = "config.json"
RESULTS = (
    "checkpoints",
    "embeddings",
    "previews",
    "tensorboard",
    "held_out_loss.json",
    "held_out_loss.csv",
    "training_curves.png",
    "classifier.safetensors",
    "cases.csv",
    "validation.csv",
    CONFIG_NAME,
)


class RunFolder:
    """Decides whether a run resumes, and sees to it that no earlier run's results are lost.

    Without ``resume``, what an earlier run left is moved to ``earlier_runs/<n>``. With it, the newest checkpoint is
    taken when the settings that shape the result are the same.

    Args:
        path: the output folder.
        settings: config keys and values that shape the result. ``length_key`` matters only when the learning rate
            depends on it: a run at constant rate may be prolonged.
        resume: go on from the newest checkpoint; begin anew where there is none.
        config: what is written to ``config.json``.
        length_key: the key that says how many steps the run has.
    """

    def __init__(
        self,
        path: str | Path,
        settings: Mapping[str, Any],
        resume: bool = False,
        config: Mapping[str, Any] | None = None,
        length_key: str = "max_steps",
    ) -> None:
        self.path = Path(path)
        self.settings = json.loads(json.dumps(dict(settings)))
        self.resume = resume
        self.config = config
        self.length_key = length_key
        self.checkpoint: TrainingCheckpoint | None = None

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def first_step(self) -> int:
        """Number of steps that are done already: 0, or the checkpoint's."""
        return 0 if self.checkpoint is None else self.checkpoint.step

    def prepare(self) -> None:
        """Make the folder, find the checkpoint or move an earlier run aside, and write the config.

        Raises:
            OutputError: the folder is not writable.
            ConfigError: a setting differs from the checkpoint's, or the checkpoint is beyond the run's length.
            TrainingError: the newest checkpoint can't be read.
        """
        ensure_writable_directory(self.path)
        paths = checkpoint_paths(self.checkpoints)
        if self.resume and paths:
            checkpoint = TrainingCheckpoint.load(paths[-1])
            self._ensure_same_settings(checkpoint)
            self.checkpoint = checkpoint
            logger.info("resuming from '%s', step %d", paths[-1], checkpoint.step)
        else:
            if self.resume:
                logger.info("no checkpoint in '%s': beginning anew", self.checkpoints)
            self._set_aside()
        if self.config is not None:
            write_text_atomically(self.path / CONFIG_NAME, json.dumps(dict(self.config), indent=4) + "\n")

    def _ensure_same_settings(self, checkpoint: TrainingCheckpoint) -> None:
        before = checkpoint.state["settings"]
        has_free_length = self.settings.get("learning_rate_schedule", "constant") == "constant"
        for key in sorted({*before, *self.settings}):
            if key == self.length_key and has_free_length:
                continue
            if before.get(key) != self.settings.get(key):
                raise ConfigError(
                    f"{key} is {self.settings.get(key)!r}, but the checkpoint in '{self.path}' was made with "
                    f"{before.get(key)!r}: set --{key} back, or choose another --output_dir"
                )
        if self.settings.get(self.length_key, checkpoint.step) < checkpoint.step:
            raise ConfigError(
                f"{self.length_key} must be at least {checkpoint.step}, the step of the checkpoint in '{self.path}', "
                f"got {self.settings[self.length_key]}: raise it, or choose another --output_dir"
            )

    def _set_aside(self) -> None:
        left = [name for name in RESULTS if (self.path / name).exists()]
        if not left:
            return
        parent = self.path / "earlier_runs"
        taken = [int(folder.name) for folder in parent.glob("*") if folder.name.isdigit()]
        target = parent / str(max(taken, default=0) + 1)
        target.mkdir(parents=True)
        for name in left:
            (self.path / name).rename(target / name)
        logger.warning("'%s' held an earlier run's results: they are now in '%s'", self.path, target)
