# SPDX-License-Identifier: Apache-2.0
"""Progress of one stage of a training from scratch."""

import logging
from collections.abc import Callable
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar, TerminateOnNan
from ignite.metrics import RunningAverage

logger = logging.getLogger(__name__)


class StageProgress:
    """Ignite's progress bar with the running loss and the time left; a score in the log at the end; stops on NaN.

    Args:
        description: what the bar is called.
        score: called at the end; its ``name`` says what it returns. None for none.
        show_progress: False keeps the bar away.
    """

    def __init__(self, description: str, score: Callable[[], float] | None = None, show_progress: bool = True) -> None:
        self.description = description
        self.score = score
        self.show_progress = show_progress

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``."""
        RunningAverage(output_transform=lambda output: output["loss"]).attach(engine, "loss")
        engine.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan(lambda output: output["loss"]))
        if self.show_progress:
            ProgressBar(persist=True, desc=self.description).attach(engine, metric_names=["loss"])
        engine.add_event_handler(Events.COMPLETED, self._report)

    def _report(self, engine: Any) -> None:
        if self.score is not None:
            engine.network.eval()
            logger.info(
                "%s: %s %.3f on held-out scenes", self.description, getattr(self.score, "name", "score"), self.score()
            )
