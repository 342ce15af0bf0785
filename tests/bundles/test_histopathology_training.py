# SPDX-License-Identifier: Apache-2.0
"""The histopathology bundle's training: its files and their faults."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from configs_of_bundles import HISTOPATHOLOGY, load
from safetensors import safe_open
from test_command_line import finished

from medti_components.data.datasets.patch_camelyon_files import PatchCamelyonFiles

TRAIN = [HISTOPATHOLOGY / "train.json"]
REAL = Path(os.environ.get("MEDTI_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))


def test_no_patch_is_mirrored_or_recoloured() -> None:
    text = json.dumps(load(HISTOPATHOLOGY / "train.json")["preprocessing"]["transforms"])
    assert not re.search(r"flip|mirror|rand|rotate", text, re.IGNORECASE)


def test_words_say_where_they_come_from(run_config: Callable[..., None], patch_training: dict[str, Any]) -> None:
    run_config("training", TRAIN, **patch_training)
    output = patch_training["output_dir"]
    with safe_open(output / "embeddings" / "histopathology_tumor.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["data_license"].startswith("phantoms (medti phantoms histopathology ")
    assert "patch_camelyon_files.LoadPatchd" in metadata["preprocessing"]
    losses = json.loads((output / "held_out_loss.json").read_text())["held_out_loss"]
    assert set(losses) == {"<histopathology_normal>", "<histopathology_tumor>"}


@pytest.mark.parametrize(
    ("overrides", "pattern"),
    [
        (
            {"num_cases": 40},
            r"'.*_train_x.h5' has 8 patches of '<histopathology_normal>' .*, num_cases asks for 40",
        ),
        ({"num_validation_cases": 9}, r"'.*_valid_x.h5' has 8 patches of .*, num_validation_cases asks for 9: lower"),
        ({"concepts": ["<lung>"]}, r"concepts of histopathology must end in 'normal>' or 'tumor>', got '<lung>'"),
        ({"dataset_dir": "no/such/folder"}, r"dataset_dir 'no/such/folder' does not exist: set --dataset_dir"),
        ({"views": ["AP"]}, r"unknown key 'views'"),
    ],
)
def test_setting_that_does_not_fit(
    line_of: Callable[..., str], patch_training: dict[str, Any], overrides: dict[str, Any], pattern: str
) -> None:
    assert re.search("^error: .*" + pattern, line_of("training", TRAIN, **{**patch_training, **overrides}))


def without_x(files: PatchCamelyonFiles) -> None:
    with h5py.File(files.x, "r+") as file:
        file.move("x", "images")


def other_counts(files: PatchCamelyonFiles) -> None:
    with h5py.File(files.y, "w") as file:
        file["y"] = np.zeros((7, 1, 1, 1), dtype=np.uint8)


def other_shape(files: PatchCamelyonFiles) -> None:
    with h5py.File(files.x, "w") as file:
        file["x"] = np.zeros((16, 32, 32, 3), dtype=np.uint8)


def truncated(files: PatchCamelyonFiles) -> None:
    files.x.write_bytes(files.x.read_bytes()[:9999])


def one_class(files: PatchCamelyonFiles) -> None:
    with h5py.File(files.y, "r+") as file:
        file["y"][...] = 0


def packed(files: PatchCamelyonFiles) -> None:
    files.x.rename(files.x.with_name(f"{files.x.name}.gz"))


@pytest.mark.parametrize(
    ("damage", "pattern"),
    [
        (without_x, r"'.*train_x.h5' must have the key 'x', got 'images': use Patch Camelyon's files"),
        (
            other_counts,
            r"'.*train_y.h5' must have a label for each of the 16 patches of '.*x.h5', got 7: download",
        ),
        (other_shape, r"'.*train_x.h5' must hold 'x' of shape \(N, 96, 96, 3\) and type uint8, got \(16, 32, 32, 3\)"),
        (truncated, r"'.*train_x.h5' is unreadable or truncated \(.*\): download it again"),
        (
            one_class,
            r"'.*train_x.h5' has 0 patches of '<histopathology_tumor>' .* asks for 2: give files that hold",
        ),
        (packed, r"'.*train_x.h5.gz' must be unpacked, got a gzip archive: run gunzip"),
    ],
)
def test_damaged_file_is_one_line(
    line_of: Callable[..., str],
    patch_training: dict[str, Any],
    damaged_patches: Path,
    damage: Callable[[PatchCamelyonFiles], None],
    pattern: str,
) -> None:
    damage(PatchCamelyonFiles.of(damaged_patches, "train"))
    line = line_of("training", TRAIN, **{**patch_training, "dataset_dir": damaged_patches})
    assert re.search("^error: " + pattern, line)


def test_damaged_file_is_one_line_and_status_1_on_the_command_line(
    patch_training: dict[str, Any], damaged_patches: Path, tmp_path: Path
) -> None:
    without_x(PatchCamelyonFiles.of(damaged_patches, "train"))
    keys = {**patch_training, "dataset_dir": damaged_patches}
    result = finished("monai.bundle", "run", "training", cwd=tmp_path, config_file=TRAIN[0], **keys)
    assert result.stderr.splitlines()[-1].startswith("error: '")
    assert "must have the key 'x', got 'images'" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stdout + result.stderr
    assert result.returncode == 1


@pytest.mark.skipif(not (REAL / "histopathology").is_dir(), reason="real patches are not here")
def test_real_patches_run_through(run_config: Callable[..., None], quick_training: dict[str, Any]) -> None:
    keys = {"dataset_dir": REAL / "histopathology", "data_license": "LC25000"}
    run_config("training", TRAIN, **{**quick_training, **keys, "num_cases": 4})
    embeddings = quick_training["output_dir"] / "embeddings"
    assert len([*embeddings.glob("*.safetensors")]) == 2
    with safe_open(embeddings / "histopathology_normal.safetensors", "pt") as file:
        assert file.metadata()["data_license"] == "LC25000"
