# SPDX-License-Identifier: Apache-2.0
"""One progress bar over all epochs of a short training, with the time left."""

from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar


class EpochProgressBar:
    """Ignite's progress bar on stderr, one step an epoch; a bar an epoch would scroll away in a short training.

    Args:
        description: text left of the bar.
        show_progress: whether there is a bar at all.
    """

    def __init__(self, description: str, show_progress: bool = True) -> None:
        self.description = description
        self.show_progress = show_progress

    def attach(self, engine: Engine) -> None:
        """Show the epochs of ``engine``."""
        if self.show_progress:
            bar = ProgressBar(persist=True, desc=self.description)
            bar.attach(engine, event_name=Events.EPOCH_COMPLETED, closing_event_name=Events.COMPLETED)
