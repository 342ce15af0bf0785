# SPDX-License-Identifier: Apache-2.0
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from medti_components.engines.run_folder import (
    RunFolder,
    RunSummaryWriter,
    checkpoint_facts,
    checkpoint_paths,
    checkpoint_step,
    load_checkpoint,
    save_checkpoint,
)
from medti_components.errors import ConfigError, OutputError, TrainingError

SETTINGS: dict[str, Any] = {
    "seed": 0,
    "concepts": ["<a>", "<b>"],
    "num_vectors": 8,
    "learning_rate": 0.005,
    "learning_rate_schedule": "constant",
    "max_steps": 100,
}


def leave_checkpoint(folder: Path, step: int = 50, **changes: Any) -> None:
    path = folder / "checkpoints" / f"step_{step:08d}.safetensors"
    save_checkpoint(path, {"rows": torch.zeros(1)}, {"settings": SETTINGS | changes})


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "step_00000007.safetensors"
    network = {"<a>.rows": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3)}
    optimizer = {"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    save_checkpoint(path, {"network": network, "optimizer": optimizer, "scaler": {}}, {"settings": {"seed": 1}})

    loaded = load_checkpoint(path)

    assert (checkpoint_step(path), checkpoint_facts(path)) == (7, {"settings": {"seed": 1}})
    assert loaded["network"].keys() == network.keys()
    assert all(torch.equal(loaded["network"][name], network[name]) for name in network)
    assert loaded["optimizer"] == optimizer and loaded["scaler"] == {}


def test_checkpoints_are_listed_oldest_first_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("step_00001000", "step_00000020", "step_00000003", ".step_00000004", "step_latest"):
        (tmp_path / f"{name}.safetensors").touch()

    assert [checkpoint_step(path) for path in checkpoint_paths(tmp_path)] == [3, 20, 1000]


@pytest.mark.parametrize("content", [b"", b"no safetensors file"])
@pytest.mark.parametrize("read", [load_checkpoint, checkpoint_facts])
def test_half_a_checkpoint_is_an_error_that_says_what_to_do(tmp_path: Path, content: bytes, read: Any) -> None:
    path = tmp_path / "step_00000001.safetensors"
    path.write_bytes(content)

    with pytest.raises(TrainingError, match=r"step_00000001.safetensors' can't be read .* delete it to resume from"):
        read(path)


def test_a_checkpoint_whose_end_is_missing_is_an_error(tmp_path: Path) -> None:
    leave_checkpoint(tmp_path)
    path = tmp_path / "checkpoints/step_00000050.safetensors"
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(TrainingError, match=r"step_00000050.safetensors' can't be read .* delete it to resume from"):
        RunFolder(tmp_path, SETTINGS, resume=True).check()


def test_resuming_takes_the_newest_checkpoint(tmp_path: Path) -> None:
    for step in (20, 50, 30):
        leave_checkpoint(tmp_path, step)

    folder = RunFolder(tmp_path, SETTINGS, resume=True)
    folder.check()

    assert folder.first_step == 50


def test_resuming_where_there_is_nothing_to_resume_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^no checkpoint in '{tmp_path}', so nothing to resume: leave out --resume"):
        RunFolder(tmp_path, SETTINGS, resume=True).check()


def test_resuming_where_the_checkpoint_was_moved_aside_says_where_it_is(tmp_path: Path) -> None:
    for step in (20, 50):
        leave_checkpoint(tmp_path, step)
        RunFolder(tmp_path, SETTINGS).begin({})
    newest = tmp_path / "earlier_runs" / "2"

    with pytest.raises(ConfigError) as raised:
        RunFolder(tmp_path, SETTINGS, resume=True).check()

    assert f"one of step 50 of an earlier run in '{newest}': go on there with --output_dir {newest}" in str(
        raised.value
    )
    there = RunFolder(newest, SETTINGS, resume=True)
    there.check()
    assert there.first_step == 50


def test_checking_a_folder_neither_moves_nor_writes(tmp_path: Path) -> None:
    leave_checkpoint(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    RunFolder(tmp_path, SETTINGS | {"seed": 1}, config={"seed": 1}).check()
    RunFolder(tmp_path / "new" / "folder", SETTINGS).check()

    assert sorted(tmp_path.rglob("*")) == before


def test_two_runs_do_not_get_one_folder_at_a_time(tmp_path: Path) -> None:
    first, second = (RunFolder(tmp_path, SETTINGS, config={"number": number}) for number in (1, 2))
    first.begin({})

    with pytest.raises(OutputError, match=f"^another run is writing to output_dir '{tmp_path}': wait for its end"):
        second.begin({})

    assert json.loads((tmp_path / "config.json").read_text()) == {"number": 1}
    first.close()
    second.begin({})
    assert json.loads((tmp_path / "earlier_runs/1/config.json").read_text()) == {"number": 1}


def test_a_run_that_begins_again_in_its_process_goes_on_in_its_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, SETTINGS, config={})
    for _ in range(2):
        folder.begin({})
        folder.close()

    assert not (tmp_path / "earlier_runs").exists()


def test_a_run_that_another_has_overtaken_does_not_resume(tmp_path: Path) -> None:
    leave_checkpoint(tmp_path, 20)
    folder = RunFolder(tmp_path, SETTINGS, resume=True)
    folder.check()
    leave_checkpoint(tmp_path, 50)

    with pytest.raises(OutputError, match="another run has written to output_dir '.*' since this one was prepared"):
        folder.begin({})


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", 1), ("concepts", ["<a>"]), ("num_vectors", 4), ("learning_rate", 0.01), ("batch_size", 2)],
)
def test_resuming_with_another_setting_is_an_error_that_names_it(tmp_path: Path, key: str, value: Any) -> None:
    leave_checkpoint(tmp_path)

    with pytest.raises(ConfigError) as raised:
        RunFolder(tmp_path, SETTINGS | {key: value}, resume=True).check()

    assert str(raised.value) == (
        f"{key} is {value!r}, but the checkpoint in '{tmp_path}' was made with {SETTINGS.get(key)!r}: "
        f"set --{key} back, or choose another --output_dir"
    )


def test_a_run_at_constant_rate_may_be_prolonged(tmp_path: Path) -> None:
    leave_checkpoint(tmp_path)

    folder = RunFolder(tmp_path, SETTINGS | {"max_steps": 200}, resume=True)
    folder.check()

    assert folder.first_step == 50


def test_a_run_whose_rate_depends_on_its_length_may_not(tmp_path: Path) -> None:
    cosine = {"learning_rate_schedule": "cosine"}
    leave_checkpoint(tmp_path, **cosine)

    with pytest.raises(ConfigError, match="max_steps is 200, but the checkpoint in .* was made with 100"):
        RunFolder(tmp_path, SETTINGS | cosine | {"max_steps": 200}, resume=True).check()


def test_a_checkpoint_beyond_the_steps_wanted_is_an_error(tmp_path: Path) -> None:
    leave_checkpoint(tmp_path)

    with pytest.raises(ConfigError, match="max_steps must be at least 50, the step of the checkpoint in .*, got 40"):
        RunFolder(tmp_path, SETTINGS | {"max_steps": 40}, resume=True).check()


def test_a_fresh_run_moves_an_earlier_one_aside_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "embeddings").mkdir()
    (tmp_path / "embeddings" / "a.safetensors").write_text("first")
    (tmp_path / "of the user.txt").write_text("stays")
    leave_checkpoint(tmp_path)
    RunFolder(tmp_path, SETTINGS | {"seed": 1}, config={"seed": 1}).begin({})
    RunFolder(tmp_path, SETTINGS | {"seed": 2}, config={"seed": 2}).begin({})

    assert (tmp_path / "earlier_runs/1/embeddings/a.safetensors").read_text() == "first"
    assert (tmp_path / "earlier_runs/1/checkpoints/step_00000050.safetensors").is_file()
    assert json.loads((tmp_path / "earlier_runs/2/config.json").read_text()) == {"seed": 1}
    assert json.loads((tmp_path / "config.json").read_text()) == {"seed": 2}
    assert (tmp_path / "of the user.txt").read_text() == "stays"
    assert f"held an earlier run's results: they are now in '{tmp_path / 'earlier_runs' / '1'}'" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="output_dir .* is not writable"):
        RunFolder(tmp_path / "run", SETTINGS).check()


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run").touch()

    with pytest.raises(OutputError, match="output_dir .*run' is not writable .*: choose another by --output_dir"):
        RunFolder(tmp_path / "run", SETTINGS).check()


def test_the_key_of_the_length_is_the_config_s(tmp_path: Path) -> None:
    settings = {"num_batches": 100}
    save_checkpoint(tmp_path / "checkpoints/step_00000050.safetensors", {}, {"settings": settings})
    longer = RunFolder(tmp_path, {"num_batches": 200}, resume=True, length_key="num_batches")
    longer.check()
    assert longer.first_step == 50
    with pytest.raises(
        ConfigError, match="^num_batches must be at least 50, the step of the checkpoint in .*, got 40: "
    ):
        RunFolder(tmp_path, {"num_batches": 40}, resume=True, length_key="num_batches").check()


def test_tensorboard_has_no_file_before_its_first_value(tmp_path: Path) -> None:
    writer = RunSummaryWriter(RunFolder(tmp_path, SETTINGS))
    assert not any(tmp_path.iterdir())

    writer.add_scalar("loss", 0.5, 1)
    writer.writer.close()

    assert [path.name.split(".")[0] for path in (tmp_path / "tensorboard").iterdir()] == ["events"]
