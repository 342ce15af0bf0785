# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch

from medti_components.engines.training_checkpoint import (
    TrainingCheckpoint,
    checkpoint_paths,
    load_optimizer_tensors,
    optimizer_tensors,
)
from medti_components.errors import TrainingError


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = TrainingCheckpoint(
        7, {"network/<a>.rows": torch.arange(6.0).reshape(2, 3)}, {"settings": {"seed": 1}, "rate": 0.1}
    )

    loaded = TrainingCheckpoint.load(saved.save(tmp_path))

    assert (loaded.step, loaded.state) == (7, saved.state)
    assert torch.equal(loaded.part("network")["<a>.rows"], saved.tensors["network/<a>.rows"])
    assert loaded.part("optimizer") == {}


def test_checkpoints_are_listed_oldest_first_and_nothing_else_is(tmp_path: Path) -> None:
    for step in (1000, 20, 3):
        TrainingCheckpoint(step, {"a": torch.zeros(1)}, {}).save(tmp_path)
    (tmp_path / ".step_00000004.safetensors").touch()
    (tmp_path / "step_latest.safetensors").touch()

    assert [path.name for path in checkpoint_paths(tmp_path)] == [
        f"step_{step:08d}.safetensors" for step in (3, 20, 1000)
    ]


@pytest.mark.parametrize("content", [b"", b"no safetensors file"])
def test_half_a_checkpoint_is_an_error_that_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "step_00000001.safetensors"
    path.write_bytes(content)

    with pytest.raises(TrainingError, match=r"step_00000001.safetensors' can't be read .* delete it to resume from"):
        TrainingCheckpoint.load(path)


@pytest.mark.parametrize("fused", [False, True])
def test_optimizer_goes_on_as_if_it_had_not_stopped(fused: bool) -> None:
    def begin(rows: torch.Tensor) -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
        parameter = torch.nn.Parameter(rows.clone())
        return parameter, torch.optim.AdamW([parameter], lr=0.1, weight_decay=0.0, fused=fused)

    def step(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        parameter.grad = parameter.detach().square() + 1
        optimizer.step()

    unbroken, optimizer = begin(torch.tensor([0.25, 0.5, 0.75]))
    step(unbroken, optimizer)
    resumed, resumed_optimizer = begin(unbroken.detach())
    load_optimizer_tensors(resumed_optimizer, optimizer_tensors(optimizer))
    for _ in range(3):
        step(unbroken, optimizer)
        step(resumed, resumed_optimizer)

    assert torch.equal(unbroken, resumed)
