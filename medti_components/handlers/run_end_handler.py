# SPDX-License-Identifier: Apache-2.0
"""Ends a training run in good order, whatever ends it."""

import signal
import threading
from types import FrameType
from typing import Any

from ignite.engine import Engine, Events

from medti_components.errors import TrainingError
from medti_components.handlers.checkpoint_handler import CHECKPOINT_WANTED

RUN_CLOSING = "run_closing"
"""Event on which what is open is closed: the run ends, well or not."""


class RunEndHandler:
    """Saves a checkpoint when the run is told to stop (Ctrl-C, SIGTERM), and closes what is open when it ends.

    The current step is finished first; a second Ctrl-C ends at once. A run with no steps to do ends before its first
    one, as any run ends. This handler must be the trainer's last.

    Args:
        max_steps: number of steps, 0 or more; the trainer itself can't do 0.
    """

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps
        self._received: signal.Signals | None = None
        self._handlers_before: dict[signal.Signals, Any] = {}

    def attach(self, engine: Engine) -> None:
        """Follow ``engine`` from its start to its end."""
        engine.register_events(CHECKPOINT_WANTED, RUN_CLOSING)
        engine.add_event_handler(Events.STARTED, self._install)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self._close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def __call__(self, engine: Engine) -> None:
        """Stop after this step when a signal came.

        Raises:
            TrainingError: a signal came; the message says how to go on.
        """
        if self._received is not None:
            engine.fire_event(CHECKPOINT_WANTED)
            raise TrainingError(
                f"stopped by {self._received.name} after step {engine.state.iteration}, checkpoint saved: "
                "go on with --resume true"
            )

    def _install(self, engine: Engine) -> None:
        self._received = None
        if self.max_steps == 0:
            engine.terminate()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers_before[number] = signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = signal.Signals(number)
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        self._handlers_before = {}

    def _close(self, engine: Engine) -> None:
        self._restore_handlers()
        engine.fire_event(RUN_CLOSING)

    def _fail(self, engine: Engine, error: BaseException) -> None:
        self._close(engine)
        raise error
