# SPDX-License-Identifier: Apache-2.0
"""Begins a training run in its folder, once everything that it needs is ready."""

from collections.abc import Mapping
from typing import Protocol

from ignite.engine import Engine, Events

from medti_components.engines.run_folder import RunFolder
from medti_components.handlers.run_end_handler import RUN_CLOSING


class HasFingerprint(Protocol):
    """What a run learns from."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the contents."""


class RunStartHandler:
    """Takes the run's folder when the engine starts, and lets it go when the run ends, well or not.

    MONAI has built all parts of the config by then, so that a mistake in any of them leaves the folder as it was. This
    handler must stand before the CheckpointHandler.

    Args:
        run_folder: the run's.
        sources: what the run learns from, by config key; resuming with another is an error.
    """

    def __init__(self, run_folder: RunFolder, sources: Mapping[str, HasFingerprint]) -> None:
        self.run_folder = run_folder
        self.sources = dict(sources)

    def attach(self, engine: Engine) -> None:
        """Follow ``engine`` from its start to its end."""
        engine.register_events(RUN_CLOSING)
        engine.add_event_handler(Events.STARTED, self)
        engine.add_event_handler(RUN_CLOSING, self.run_folder.close)

    def __call__(self, engine: Engine) -> None:
        """Begin.

        Raises:
            ConfigError: a source is not that of the checkpoint.
            OutputError: another run uses the folder.
        """
        self.run_folder.begin({key: source.fingerprint for key, source in self.sources.items()})
