# SPDX-License-Identifier: Apache-2.0
"""The folder that a training run leaves its results in, begun anew or resumed, and the files of its checkpoints."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from torch import Tensor

from medti_components.errors import ConfigError, OutputError, TrainingError
from medti_components.files import (
    check_writable,
    ensure_writable_directory,
    save_tensors_atomically,
    write_text_atomically,
)

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

CHECKPOINT_PREFIX = "step_"
CHECKPOINTS = "checkpoints"
EARLIER_RUNS = "earlier_runs"
CONFIG_NAME = "config.json"
LOCK_NAME = ".lock"
RESULTS = (
    CHECKPOINTS,
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


def checkpoint_paths(folder: str | Path) -> list[Path]:
    """List the checkpoints of a folder, ``step_<step>.safetensors``, oldest first; empty when there are none.

    >>> checkpoint_paths("no such folder")
    []
    """
    paths = Path(folder).glob(f"{CHECKPOINT_PREFIX}*.safetensors")
    return sorted(path for path in paths if path.stem.removeprefix(CHECKPOINT_PREFIX).isdigit())


def checkpoint_step(path: Path) -> int:
    """Return the number of steps that the run had done.

    >>> checkpoint_step(Path("checkpoints/step_00000500.safetensors"))
    500
    """
    return int(path.stem.removeprefix(CHECKPOINT_PREFIX))


def save_checkpoint(path: str | Path, state: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint in one piece: tensors and JSON in safetensors, no pickle.

    Args:
        path: of the file.
        state: ``state_dict`` by name: mappings and lists of tensors, numbers and strings.
        facts: JSON that can be read without the tensors.
    """
    tensors: dict[str, Tensor] = {}
    plain = {name: _without_tensors(part, name, tensors) for name, part in state.items()}
    save_tensors_atomically(path, tensors, {"state": json.dumps(plain), "facts": json.dumps(dict(facts))})


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return the ``state`` that :func:`save_checkpoint` wrote.

    Raises:
        TrainingError: the file is no whole checkpoint.
    """
    with _opened(path) as (metadata, file):
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  (no iterator)
        return {name: _with_tensors(part, tensors) for name, part in json.loads(metadata["state"]).items()}


def checkpoint_facts(path: str | Path) -> dict[str, Any]:
    """Return the ``facts`` that :func:`save_checkpoint` wrote.

    Raises:
        TrainingError: the file is no whole checkpoint.
    """
    with _opened(path) as (metadata, _):
        facts: dict[str, Any] = json.loads(metadata["facts"])
        return facts


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[dict[str, str], Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file.metadata() or {}, file
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(
            f"checkpoint '{path}' can't be read ({type(error).__name__}): delete it to resume from the one before"
        ) from error


def _without_tensors(tree: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return JSON of a state; tensors go to ``tensors``, mappings become pairs, as JSON has no integer keys."""
    if isinstance(tree, Tensor):
        tensors[name] = tree
        return {"tensor": name}
    if isinstance(tree, Mapping):
        return {"items": [[key, _without_tensors(value, f"{name}/{key}", tensors)] for key, value in tree.items()]}
    if isinstance(tree, (list, tuple)):
        return [_without_tensors(value, f"{name}/{index}", tensors) for index, value in enumerate(tree)]
    return tree


def _with_tensors(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo :func:`_without_tensors`."""
    if isinstance(plain, list):
        return [_with_tensors(value, tensors) for value in plain]
    if isinstance(plain, dict):
        if "tensor" in plain:
            return tensors[plain["tensor"]]
        return {key: _with_tensors(value, tensors) for key, value in plain["items"]}
    return plain


def checkpoint_to_resume(folder: str | Path, pattern: str = CHECKPOINTS) -> Path:
    """Return the newest checkpoint of a run's folder.

    Args:
        folder: the run's output folder.
        pattern: where the checkpoints are in it; ``checkpoints/*`` for a run of several stages.

    Raises:
        ConfigError: there is none; the message names one of an earlier run, if it was moved aside.
    """
    paths = [path for place in Path(folder).glob(pattern) for path in checkpoint_paths(place)]
    if paths:
        return paths[-1]
    earlier = [path for path in _earlier_runs(Path(folder)) if checkpoint_paths(path / pattern)]
    if earlier:
        step = checkpoint_step(checkpoint_paths(earlier[-1] / pattern)[-1])
        raise ConfigError(
            f"no checkpoint in '{folder}', but one of step {step} of an earlier run in '{earlier[-1]}': "
            f"go on there with --output_dir {earlier[-1]}, or leave out --resume to begin anew"
        )
    raise ConfigError(f"no checkpoint in '{folder}', so nothing to resume: leave out --resume, or correct --output_dir")


def _earlier_runs(folder: Path) -> list[Path]:
    """Return the folders that earlier runs were moved to, oldest first."""
    found = [path for path in (folder / EARLIER_RUNS).glob("*") if path.name.isdigit()]
    return sorted(found, key=lambda path: int(path.name))


class RunFolder:
    """Decides whether a run resumes, and keeps the results of an earlier run.

    Without ``resume``, what an earlier run left is moved to ``earlier_runs/<n>``. With it, the newest checkpoint is
    taken when the settings and sources that shape the result are the same. :meth:`check` only reads. :meth:`begin` is
    the first to move and write, when everything else that the run needs is ready.

    Args:
        path: the output folder.
        settings: config keys and values that shape the result. ``length_key`` matters only when the learning rate
            depends on it: a run at constant rate may be prolonged.
        resume: continue from the newest checkpoint.
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
        self.sources: dict[str, str] = {}
        """Fingerprints of what the run learns from, by config key; known once the run has begun."""
        self.first_step = 0
        """Number of steps that are done already: 0, or the checkpoint's."""
        self._has_begun = False
        self._lock = FileLock(self.path / LOCK_NAME)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / CHECKPOINTS

    def check(self) -> None:
        """Find out whether a run can begin here, and from which step. Nothing is written.

        Raises:
            OutputError: the folder is not writable.
            ConfigError: there is no checkpoint to resume from, a setting differs from its, or it is beyond the run's
                length.
            TrainingError: the newest checkpoint can't be read.
        """
        check_writable(self.path)
        if self.resume:
            path = checkpoint_to_resume(self.path)
            self._ensure_same_settings(checkpoint_facts(path)["settings"], checkpoint_step(path))
            self.first_step = checkpoint_step(path)

    def begin(self, sources: Mapping[str, str]) -> None:
        """Take the folder for this run: move an earlier one aside, unless it is resumed, and write the config.

        No other run gets the folder until :meth:`close`. A run that begins again in the same process goes on in it.

        Args:
            sources: fingerprints of what the run learns from, by config key.

        Raises:
            ConfigError: a source is not that of the checkpoint.
            OutputError: another run uses the folder, or has written to it since :meth:`check`.
        """
        ensure_writable_directory(self.path)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError(
                f"another run is writing to output_dir '{self.path}': wait for its end, or choose another --output_dir"
            ) from error
        if self._has_begun:
            return
        try:
            if self.resume:
                self._ensure_resumable(sources)
            else:
                self._set_aside()
        except Exception:
            self.close()
            raise
        self._has_begun = True
        self.sources = dict(sources)
        if self.config is not None:
            write_text_atomically(self.path / CONFIG_NAME, json.dumps(dict(self.config), indent=4) + "\n")

    def close(self) -> None:
        """Let other runs have the folder."""
        self._lock.release()

    def _ensure_resumable(self, sources: Mapping[str, str]) -> None:
        newest = checkpoint_to_resume(self.path)
        if checkpoint_step(newest) != self.first_step:
            raise OutputError(
                f"another run has written to output_dir '{self.path}' since this one was prepared: "
                "run the command again, or choose another --output_dir"
            )
        self._ensure_same_sources(checkpoint_facts(newest)["sources"], sources)

    def _ensure_same_settings(self, before: Mapping[str, Any], step: int) -> None:
        has_free_length = self.settings.get("learning_rate_schedule", "constant") == "constant"
        for key in sorted({*before, *self.settings}):
            if key == self.length_key and has_free_length:
                continue
            if before.get(key) != self.settings.get(key):
                raise ConfigError(
                    f"{key} is {self.settings.get(key)!r}, but the checkpoint in '{self.path}' was made with "
                    f"{before.get(key)!r}: set --{key} back, or choose another --output_dir"
                )
        if self.settings.get(self.length_key, step) < step:
            raise ConfigError(
                f"{self.length_key} must be at least {step}, the step of the checkpoint in '{self.path}', "
                f"got {self.settings[self.length_key]}: raise it, or choose another --output_dir"
            )

    def _ensure_same_sources(self, before: Mapping[str, str], sources: Mapping[str, str]) -> None:
        for key, now in sources.items():
            if before.get(key) == now:
                continue
            if " or " in key:
                raise ConfigError(
                    f"{key} holds other images than the checkpoint in '{self.path}' was made with: set them "
                    "back, or choose another --output_dir"
                )
            raise ConfigError(
                f"{key} is not the one that the checkpoint in '{self.path}' was made with: "
                f"set --{key} back, or choose another --output_dir"
            )

    def _set_aside(self) -> None:
        left = [name for name in RESULTS if (self.path / name).exists()]
        if not left:
            return
        number = max((int(path.name) for path in _earlier_runs(self.path)), default=0) + 1
        target = self.path / EARLIER_RUNS / str(number)
        target.mkdir(parents=True)
        for name in left:
            (self.path / name).rename(target / name)
        logger.warning("'%s' held an earlier run's results: they are now in '%s'", self.path, target)


class RunSummaryWriter:
    """TensorBoard's writer of a run; it makes its files with the first value, so that no file is there before the run.

    Args:
        run_folder: the run's.
    """

    def __init__(self, run_folder: RunFolder) -> None:
        self.run_folder = run_folder

    @cached_property
    def writer(self) -> "SummaryWriter":
        """The writer; what a broken-off run wrote beyond the checkpoint is not shown."""
        from torch.utils.tensorboard import SummaryWriter  # here, since it is slow to import

        folder = str(self.run_folder.path / "tensorboard")
        return SummaryWriter(log_dir=folder, purge_step=self.run_folder.first_step + 1)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Show a number of a step."""
        self.writer.add_scalar(name, value, step)

    def add_image(self, name: str, image: np.ndarray, step: int, dataformats: str = "CHW") -> None:
        """Show a picture of a step."""
        self.writer.add_image(name, image, step, dataformats=dataformats)
