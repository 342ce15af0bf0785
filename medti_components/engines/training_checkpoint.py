# SPDX-License-Identifier: Apache-2.0
"""One file that holds a training run at one step: tensors and JSON in safetensors, no pickle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.optim import Optimizer

from medti_components.errors import TrainingError
from medti_components.files import save_tensors_atomically

PREFIX = "step_"


@dataclass(frozen=True)
class TrainingCheckpoint:
    """A run's state after ``step`` steps.

    Attributes:
        step: optimiser steps done.
        tensors: by name; ``network/...`` the rows, ``optimizer/<parameter>/...`` the optimiser's state.
        state: whatever else there is, JSON only: settings, learning rate scheduler, history.
    """

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]

    def save(self, folder: str | Path) -> Path:
        """Write ``folder/step_<step>.safetensors`` in one piece and return its path."""
        path = Path(folder) / f"{PREFIX}{self.step:08d}.safetensors"
        save_tensors_atomically(path, self.tensors, {"step": str(self.step), "state": json.dumps(dict(self.state))})
        return path

    @classmethod
    def load(cls, path: str | Path) -> "TrainingCheckpoint":
        """Read a checkpoint.

        Raises:
            TrainingError: the file is no whole checkpoint.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no iterator)
            return cls(int(metadata["step"]), tensors, json.loads(metadata["state"]))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise TrainingError(
                f"checkpoint '{path}' can't be read ({type(error).__name__}): delete it to resume from the one before"
            ) from error

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with ``prefix/``, without it."""
        start = f"{prefix}/"
        return {name[len(start) :]: tensor for name, tensor in self.tensors.items() if name.startswith(start)}


def checkpoint_paths(folder: str | Path) -> list[Path]:
    """List the checkpoints of a folder, oldest first; empty when there are none.

    >>> checkpoint_paths("no such folder")
    []
    """
    return sorted(path for path in Path(folder).glob(f"{PREFIX}*.safetensors") if path.stem[len(PREFIX) :].isdigit())


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Flatten an optimiser's state to ``<parameter index>/<name>``; its settings come from the config anyway."""
    state = optimizer.state_dict()["state"]
    return {f"{index}/{name}": value for index, values in state.items() for name, value in values.items()}


def load_optimizer_tensors(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split("/", 1)
        state.setdefault(int(index), {})[name] = tensor.clone()  # updated in place by the optimiser
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
