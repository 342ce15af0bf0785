# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.engines.learning_rate import learning_rate_factor, scheduled_learning_rate
from medti_components.errors import ConfigError


def test_cosine_falls_from_the_full_rate_to_zero_by_half_at_the_middle() -> None:
    factors = [learning_rate_factor("cosine", step, 100) for step in (0, 50, 100, 101)]

    assert factors == pytest.approx([1.0, 0.5, 0.0, 0.0])


def test_scheduler_gives_the_rate_of_the_step_about_to_be_done() -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    scheduler = scheduled_learning_rate(optimizer, "cosine", 4)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()

    assert rates == pytest.approx([0.02 * factor for factor in (1.0, 0.8535534, 0.5, 0.1464466)])


def test_no_steps_at_all_is_no_division_by_zero() -> None:
    assert learning_rate_factor("cosine", 0, 0) == 1.0


def test_unknown_schedule_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="learning_rate_schedule must be one of constant, cosine, got 'linear'"):
        learning_rate_factor("linear", 0, 1)
