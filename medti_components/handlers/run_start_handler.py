# SPDX-License-Identifier: Apache-2.0
"""Begins a training run in its folder, once everything that it needs is ready."""

import inspect
from collections.abc import Mapping
from typing import Protocol

import torch
from ignite.engine import Engine, Events

from medti_components.engines.run_folder import RunFolder
from medti_components.errors import ConfigError
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
            ConfigError: the optimizer can't train; a source is not that of the checkpoint.
            OutputError: another run uses the folder.
        """
        ensure_steps(engine.optimizer)  # type: ignore[attr-defined]
        self.run_folder.begin({key: source.fingerprint for key, source in self.sources.items()})


def ensure_steps(optimizer: torch.optim.Optimizer) -> None:
    """Check that an optimizer of this kind does a step by gradients alone, on a parameter of its own.

    Raises:
        ConfigError: it does not; for instance LBFGS needs the loss too.

    >>> ensure_steps(torch.optim.LBFGS([torch.nn.Parameter(torch.zeros(2, 2))]))
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: optimizer LBFGS can't do a step by gradients alone
    (LBFGS.step() missing 1 required positional argument: 'closure'): set another optimizer::_target_
    """
    kind = type(optimizer)
    taken = inspect.signature(kind).parameters
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.ones(2, 2)
    try:
        kind([parameter], **{name: value for name, value in optimizer.defaults.items() if name in taken}).step()
    except (TypeError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"optimizer {kind.__name__} can't do a step by gradients alone ({reason}): set another optimizer::_target_"
        ) from error
