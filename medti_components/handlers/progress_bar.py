# SPDX-License-Identifier: Apache-2.0
"""Progress of a run on stderr."""

import os
from typing import Any, Literal

from ignite.engine import Engine, Events
from tqdm import tqdm

from medti_components.handlers.run_end_handler import RUN_CLOSING

Unit = Literal["step", "batch", "epoch"]


class ProgressBar:
    """A bar with what is done, the time left and the losses; a resumed run's starts where it resumes.

    Losses are the engine's metrics "loss" and "loss <concept>", where there are any.

    Args:
        description: text left of the bar.
        show_progress: whether there is a bar at all.
        unit: what the bar counts; "batch" and "step" are the engine's iterations.
    """

    def __init__(
        self,
        description: str = "training",
        show_progress: bool = True,
        unit: Literal["step", "batch", "epoch"] = "step",
    ) -> None:
        self.description = description
        self.show_progress = show_progress
        self.unit = unit
        self._bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Follow ``engine`` from its start to its end, whatever ends it."""
        if not self.show_progress:
            return
        engine.register_events(RUN_CLOSING)
        engine.add_event_handler(Events.EPOCH_STARTED, self._open)
        engine.add_event_handler(
            Events.EPOCH_COMPLETED if self.unit == "epoch" else Events.ITERATION_COMPLETED, self._advance
        )
        engine.add_event_handler(Events.COMPLETED, self.close)
        engine.add_event_handler(RUN_CLOSING, self.close)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _open(self, engine: Engine) -> None:
        if self._bar is not None:
            return
        state = engine.state
        num_epochs = state.max_epochs or 1
        total, done = num_epochs * (state.epoch_length or 0), state.iteration
        if self.unit == "epoch":
            total, done = num_epochs, state.epoch - 1
        self._bar = tqdm(total=total, initial=done, desc=self.description, unit=self.unit, dynamic_ncols=True)

    def _advance(self, engine: Engine) -> None:
        if self._bar is not None:
            self._bar.set_postfix(_shown_losses(engine.state.metrics), refresh=False)
            self._bar.update((engine.state.epoch if self.unit == "epoch" else engine.state.iteration) - self._bar.n)


def _shown_losses(metrics: dict[str, Any]) -> dict[str, str]:
    """Return the losses with the shortest names that tell them apart.

    >>> _shown_losses({"loss <mri_negative>": 0.5, "loss <mri_positive>": 0.25, "auc": 0.75})
    {'negative': '0.5000', 'positive': '0.2500'}
    >>> _shown_losses({"loss": 1.0})
    {'loss': '1.0000'}
    """
    names = {key: key.removeprefix("loss ").strip("<>") for key in metrics if key == "loss" or key.startswith("loss ")}
    shared = _shared_prefix(list(names.values()))
    return {name[len(shared) :] or name: f"{metrics[key]:.4f}" for key, name in names.items()}


def _shared_prefix(names: list[str]) -> str:
    """Return what all names begin with, up to the last underscore, to keep the bar short.

    >>> _shared_prefix(["prostate_mri_negative", "prostate_mri_positive"])
    'prostate_mri_'
    >>> _shared_prefix(["nodule"])
    ''
    """
    if len(names) < 2:
        return ""
    shared = os.path.commonprefix(names)
    return shared[: shared.rfind("_") + 1]
