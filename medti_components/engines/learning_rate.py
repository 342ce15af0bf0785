# SPDX-License-Identifier: Apache-2.0
"""Learning rate over the steps."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from medti_components.errors import ConfigError

SCHEDULES = ("constant", "cosine")


def learning_rate_factor(schedule: str, step: int, max_steps: int) -> float:
    """Factor on the learning rate in ``step`` (from 0): 1, or ``(1 + cos(pi * step / max_steps)) / 2``.

    Raises:
        ConfigError: another schedule.

    >>> [learning_rate_factor("cosine", step, 4) for step in (0, 2, 4)]
    [1.0, 0.5, 0.0]
    """
    if schedule not in SCHEDULES:
        raise ConfigError(f"learning_rate_schedule must be one of {', '.join(SCHEDULES)}, got '{schedule}'")
    if schedule == "constant":
        return 1.0
    return round(0.5 * (1.0 + math.cos(math.pi * min(step, max_steps) / max(max_steps, 1))), 12)


def scheduled_learning_rate(optimizer: Optimizer, schedule: str, max_steps: int) -> LambdaLR:
    """Scheduler to be stepped once per optimiser step; the rate is a function of the step alone.

    ``get_scheduler`` of diffusers gives the same constant rate. Its cosine differs by up to 5e-13 of the rate, since
    the factor here is rounded to 12 digits. Embeddings are compared to the bit, so that this formula stays.

    Raises:
        ConfigError: an unknown schedule.
    """
    return LambdaLR(optimizer, lambda step: learning_rate_factor(schedule, step, max_steps))
