# SPDX-License-Identifier: Apache-2.0
"""The handlers of a stage of the embedded base model's training."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import TerminateOnNan
from ignite.metrics import RunningAverage
from monai.handlers import LrScheduleHandler

from medti_components.files import ensure_writable_directory, write_text_atomically
from medti_components.handlers.checkpoint_handler import CheckpointHandler
from medti_components.handlers.progress_bar import ProgressBar

logger = logging.getLogger(__name__)


class StageHandler:
    """Follows a stage: a progress bar with the running loss, scores in the log; stops on NaN.

    Args:
        description: what the bar is called.
        score: called at the end and every ``interval`` steps; returns numbers by name. None for none.
        interval: steps between scores; 0 scores at the end alone.
        table: CSV file of the scores, with the steps and the seconds since the start.
        show_progress: False keeps the bar away.
    """

    def __init__(
        self,
        description: str,
        score: Callable[[], Mapping[str, float]] | None = None,
        interval: int = 0,
        table: Path | None = None,
        show_progress: bool = True,
    ) -> None:
        self.description = description
        self.score = score or dict
        self.has_score = score is not None
        self.interval = interval
        self.table = table
        self.rows: list[dict[str, float]] = []
        self.start = time.monotonic()
        self.progress_bar = ProgressBar(description, show_progress)

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``."""
        RunningAverage(output_transform=lambda output: output["loss"]).attach(engine, "loss")
        engine.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan(lambda output: output["loss"]))
        self.progress_bar.attach(engine)
        if not self.has_score:
            return
        if self.interval:
            engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self._report)
        engine.add_event_handler(Events.COMPLETED, self._report)

    def _report(self, engine: Any) -> None:
        step = engine.state.iteration
        if self.rows and self.rows[-1]["step"] == step:
            return
        engine.network.eval()
        scores = self.score()
        text = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        logger.info("%s, step %d: %s on held-out scenes", self.description, step, text)
        self.rows.append({"step": step, "seconds": time.monotonic() - self.start, **scores})
        if self.table is not None:
            lines = [",".join(self.rows[0]), *(",".join(f"{value:.6g}" for value in row.values()) for row in self.rows)]
            write_text_atomically(self.table, "\n".join(lines) + "\n")


def stage_handlers(
    description: str,
    state: Mapping[str, Any],
    score: Callable[[], Mapping[str, float]] | None = None,
    score_interval: int = 0,
    *,
    output_dir: str,
    interval: int,
    resume: bool,
    show_progress: bool = True,
) -> list[Any]:
    """Return the handlers of a stage: learning rate, checkpoints, progress and scores.

    Args:
        description: such as "text encoder"; its checkpoints are in ``<output_dir>/checkpoints/text_encoder``, its
            scores in ``<output_dir>/text_encoder.csv``.
        state: what is saved, by name; its ``lr_scheduler`` is stepped too.
        score: called at the end, and every ``score_interval`` steps.
        score_interval: 0 scores at the end alone.
        output_dir: the run's folder.
        interval: steps between checkpoints.
        resume: go on from the newest checkpoint.
        show_progress: False keeps the progress bar away.
    """
    name = description.replace(" ", "_")
    table = ensure_writable_directory(output_dir) / f"{name}.csv"
    return [
        LrScheduleHandler(state["lr_scheduler"], print_lr=False, epoch_level=False),
        CheckpointHandler(Path(output_dir) / "checkpoints" / name, state, interval, resume=resume),
        StageHandler(description, score, score_interval, table, show_progress),
    ]
