# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from training_run import CONCEPTS, build_run, final_rows

from medti_components.engines.run_folder import checkpoint_paths, checkpoint_step, load_checkpoint, save_checkpoint
from medti_components.errors import ConfigError, OutputError, TrainingError
from medti_components.handlers.checkpoint_handler import CheckpointHandler
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

KILLED_RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from training_run import build_run
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion
model = FrozenLatentDiffusion.from_pretrained(sys.argv[2])
build_run(model, Path(sys.argv[3]), max_steps=100000, learning_rate_schedule="constant", checkpoint_interval=3).run()
"""


def assert_same_rows(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[token], other[token]) for token in one)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_run_stopped_between_checkpoints_ends_bitwise_where_an_unbroken_one_does(
    micro_model: FrozenLatentDiffusion, tmp_path: Path, schedule: str
) -> None:
    changes = {"max_steps": 8, "learning_rate_schedule": schedule, "checkpoint_interval": 3}
    unbroken = build_run(micro_model, tmp_path / "unbroken", **changes)
    unbroken.run()

    broken = build_run(micro_model, tmp_path / "broken", **changes)
    optimizer_step = broken.optimizer.step

    def fail_in_step_5(*args: object) -> None:
        if broken.state.iteration == 5:
            raise MemoryError
        optimizer_step()

    broken.optimizer.step = fail_in_step_5  # type: ignore[assignment, method-assign]
    with pytest.raises(MemoryError):
        broken.run()
    resumed = build_run(micro_model, tmp_path / "broken", resume=True, **changes)
    resumed.run()

    assert resumed.state.iteration == 8
    assert_same_rows(final_rows(resumed), final_rows(unbroken))
    for name in ("held_out_loss.json", "held_out_loss.csv"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


def test_a_run_killed_by_the_system_ends_bitwise_where_an_unbroken_one_does(
    micro_base: Path, micro_model: FrozenLatentDiffusion, tmp_path: Path
) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    arguments = [
        sys.executable,
        "-c",
        KILLED_RUN,
        str(Path(__file__).parents[1]),
        str(micro_base),
        str(tmp_path / "run"),
    ]
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not checkpoint_paths(tmp_path / "run" / "checkpoints") and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    step = checkpoint_step(checkpoint_paths(tmp_path / "run" / "checkpoints")[-1])

    resumed = build_run(micro_model, tmp_path / "run", resume=True, max_steps=step + 4, checkpoint_interval=3)
    unbroken = build_run(micro_model, tmp_path / "unbroken", max_steps=step + 4, checkpoint_interval=3)
    resumed.run()
    unbroken.run()

    assert_same_rows(final_rows(resumed), final_rows(unbroken))


def test_resuming_a_finished_run_does_no_step(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    finished = build_run(micro_model, tmp_path)
    finished.run()
    (tmp_path / "embeddings" / "micro_negative.safetensors").unlink()

    resumed = build_run(micro_model, tmp_path, resume=True)
    resumed.prepare_batch = None
    resumed.run()

    assert_same_rows(final_rows(resumed), final_rows(finished))
    assert (tmp_path / "embeddings" / "micro_negative.safetensors").is_file()


def test_the_last_few_checkpoints_are_kept(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    build_run(micro_model, tmp_path, max_steps=5, checkpoint_interval=1, num_kept=3, validation_interval=0).run()

    assert [checkpoint_step(path) for path in checkpoint_paths(tmp_path / "checkpoints")] == [3, 4, 5]


def test_without_an_interval_the_end_alone_is_saved(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    build_run(micro_model, tmp_path, checkpoint_interval=0, validation_interval=0).run()

    assert [checkpoint_step(path) for path in checkpoint_paths(tmp_path / "checkpoints")] == [4]


def test_resuming_with_other_images_is_an_error(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    build_run(micro_model, tmp_path).run()

    with pytest.raises(
        ConfigError, match="dataset_dir is not the one that the checkpoint in .* was made with: set --d"
    ):
        build_run(micro_model, tmp_path, resume=True, num_cases=4).run()


def test_resuming_on_another_base_model_is_an_error(
    micro_model: FrozenLatentDiffusion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_run(micro_model, tmp_path).run()
    monkeypatch.setitem(micro_model.__dict__, "fingerprint", "0" * 64)

    with pytest.raises(ConfigError, match="base_model is not the one that the checkpoint in .* was made with"):
        build_run(micro_model, tmp_path, resume=True).run()


def test_rows_that_are_not_finite_are_never_saved(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    trainer = build_run(micro_model, tmp_path, max_steps=2)
    trainer.iteration_count = 0
    process = trainer._process_function

    def spoil(engine: object, batch: object) -> object:
        output = process(engine, batch)
        with torch.no_grad():
            trainer.network["<micro_positive>"].rows[0, 0] = float("inf")  # type: ignore[index]
        return output

    trainer._process_function = spoil
    with pytest.raises(TrainingError, match=f"(rows|loss) of '{CONCEPTS[1]}'"):
        trainer.run()

    assert checkpoint_paths(tmp_path / "checkpoints") == []


def test_keeping_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="num_kept must be 1 or more, got 0"):
        CheckpointHandler(tmp_path, {}, num_kept=0)


@pytest.mark.parametrize("fused", [False, True])
def test_an_optimizer_goes_on_as_if_it_had_not_stopped(tmp_path: Path, fused: bool) -> None:
    def begin(rows: torch.Tensor) -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
        parameter = torch.nn.Parameter(rows.clone())
        return parameter, torch.optim.AdamW([parameter], lr=0.1, weight_decay=0.0, fused=fused)

    def step(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        parameter.grad = parameter.detach().square() + 1
        optimizer.step()

    unbroken, optimizer = begin(torch.tensor([0.25, 0.5, 0.75]))
    step(unbroken, optimizer)
    resumed, resumed_optimizer = begin(unbroken.detach())
    save_checkpoint(tmp_path / "checkpoint", {"optimizer": optimizer.state_dict()}, {})
    resumed_optimizer.load_state_dict(load_checkpoint(tmp_path / "checkpoint")["optimizer"])
    for _ in range(3):
        step(unbroken, optimizer)
        step(resumed, resumed_optimizer)

    assert torch.equal(unbroken, resumed)


def counting_engine(folder: Path, **options: Any) -> Engine:
    """Return an engine whose network counts its steps."""
    network = torch.nn.Linear(1, 1)
    engine = Engine(lambda engine, batch: network.weight.data.fill_(float(engine.state.iteration)))
    engine.scaler = None
    optimizer = torch.optim.SGD(network.parameters())
    CheckpointHandler(folder, {"network": network, "optimizer": optimizer}, interval=2, **options).attach(engine)
    return engine


def test_an_old_checkpoint_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting_engine(tmp_path).run(range(4))

    def fail(*args: object) -> None:
        raise OutputError("disk full")

    monkeypatch.setattr("medti_components.handlers.checkpoint_handler.save_checkpoint", fail)
    with pytest.raises(OutputError):
        counting_engine(tmp_path).run(range(8))

    assert [checkpoint_step(path) for path in checkpoint_paths(tmp_path)] == [4]


def test_a_run_that_does_not_resume_puts_its_own_checkpoints_in_place_of_those_before(tmp_path: Path) -> None:
    counting_engine(tmp_path).run(range(8))
    engine = counting_engine(tmp_path, resume=False)
    engine.run(range(3))

    (path,) = checkpoint_paths(tmp_path)
    assert (checkpoint_step(path), load_checkpoint(path)["network"]["weight"].item()) == (3, 3.0)


def test_fewer_checkpoints_than_before_may_be_kept(tmp_path: Path) -> None:
    counting_engine(tmp_path, num_kept=3).run(range(6))
    counting_engine(tmp_path, num_kept=2).run(range(8))

    assert [checkpoint_step(path) for path in checkpoint_paths(tmp_path)] == [6, 8]


def test_the_loss_scale_of_float16_is_restored(tmp_path: Path) -> None:
    engine = counting_engine(tmp_path)
    engine.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    engine.run(range(2))
    resumed = counting_engine(tmp_path)
    resumed.scaler = torch.amp.GradScaler("cpu")
    resumed.run(range(4))

    assert resumed.scaler.get_scale() == 8.0
