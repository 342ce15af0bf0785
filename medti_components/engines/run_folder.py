# SPDX-License-Identifier: Apache-2.0
"""The folder that a training run leaves its results in, begun anew or resumed, and the files of its checkpoints."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from medti_components.errors import ConfigError, TrainingError
from medti_components.files import ensure_writable_directory, save_tensors_atomically, write_text_atomically

logger = logging.getLogger(__name__)

CHECKPOINT_PREFIX = "step_"
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


class RunFolder:
    """Decides whether a run resumes, and keeps the results of an earlier run.

    Without ``resume``, what an earlier run left is moved to ``earlier_runs/<n>``. With it, the newest checkpoint is
    taken when the settings that shape the result are the same.

    Args:
        path: the output folder.
        settings: config keys and values that shape the result. ``length_key`` matters only when the learning rate
            depends on it: a run at constant rate may be prolonged.
        resume: continue from the newest checkpoint, or begin anew where there is none.
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
        self.first_step = 0
        """Number of steps that are done already: 0, or the checkpoint's."""

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

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
            step = checkpoint_step(paths[-1])
            self._ensure_same_settings(checkpoint_facts(paths[-1])["settings"], step)
            self.first_step = step
        else:
            if self.resume:
                logger.info("no checkpoint in '%s': beginning anew", self.checkpoints)
            self._set_aside()
        if self.config is not None:
            write_text_atomically(self.path / CONFIG_NAME, json.dumps(dict(self.config), indent=4) + "\n")

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
