# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run; what they measure here is of no interest."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks_are_importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield


def test_training_step_compares_both_loops_at_each_batch_size(
    micro_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import training_step

    arguments = f"--base_model {micro_base} --batch_sizes 1 2 --num_vectors 2 --num_rounds 1 --steps_per_round 1"
    command = ["training_step.py", *arguments.split(), "--without_memory", "--output", str(tmp_path / "table.csv")]
    monkeypatch.setattr(sys, "argv", command)
    training_step.main()

    with open(tmp_path / "table.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["batch size"], row["method"]) for row in rows] == [
        (size, method) for size in ("1", "2") for method in ("plain loop", "this trainer")
    ]
    assert all(float(row["ms per step and concept"]) > 0 for row in rows)
    assert "| 2 | this trainer |" in capsys.readouterr().out


def test_the_plain_loop_changes_the_new_rows_alone(micro_base: Path) -> None:
    import training_step

    loop = training_step.PlainLoop(training_step.Setting(str(micro_base), 1, 1, 2, 0.1, "cpu", "float32", False), 2, 3)
    loop.round()

    assert torch.equal(loop.table[loop.is_old], loop.before[loop.is_old])
    assert not torch.equal(loop.table[~loop.is_old], loop.before[~loop.is_old])


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_memory_of_fake_tensors_is_that_of_real_ones(gradient_checkpointing: bool) -> None:
    import memory_estimate

    def found() -> memory_estimate.Estimate:
        model = memory_estimate.build_model("cpu", "float32", gradient_checkpointing, False, scale=16)
        return memory_estimate.estimate(model, batch_size=1, num_vectors=4)

    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        real = found()
        with FakeTensorMode():
            fake = found()

    assert fake.weights == real.weights
    assert fake.saved == pytest.approx(real.saved, rel=0.02)
    assert fake.peak == pytest.approx(real.peak, rel=0.05)


def test_checkpointing_saves_a_fraction() -> None:
    import memory_estimate

    with FakeTensorMode(), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        whole, thrifty = (
            memory_estimate.estimate(
                memory_estimate.build_model("cpu", "bfloat16", is_thrifty, is_thrifty, scale=16), 1
            )
            for is_thrifty in (False, True)
        )

    assert thrifty.saved < whole.saved / 3
    assert thrifty.total < whole.total
