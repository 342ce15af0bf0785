# SPDX-License-Identifier: Apache-2.0
"""The chest bundle's training: its data sets, and a user's mistakes."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from configs_of_bundles import CHEST, load
from safetensors import safe_open

TRAIN = [CHEST / "train.json"]
REAL = Path(os.environ.get("MEDTI_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))


def test_nothing_is_mirrored() -> None:
    assert not re.search(r"flip|mirror|Rand", json.dumps(load(CHEST / "train.json")["preprocessing"]), re.IGNORECASE)


def test_provenance_tells_the_data_set_s_licence(
    run_config: Callable[..., None], chest_training: dict[str, Any]
) -> None:
    run_config("training", TRAIN, **chest_training)
    with safe_open(chest_training["output_dir"] / "embeddings" / "chest_xray_pneumonia.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["data_license"].startswith("phantoms (medti phantoms chest_xray ")
    assert json.loads(metadata["preprocessing"])["_target_"] == "Compose"


@pytest.mark.parametrize(
    ("overrides", "pattern"),
    [
        ({"dataset_format": "mimic"}, r"dataset_format must be one of chexpert, nih, got 'mimic': correct"),
        ({"dataset_format": "nih"}, r"dataset_dir '.*' has no 'Data_Entry_\*.csv' or 'labels.csv': set --dataset_dir"),
        ({"views": ["LL"]}, r"views must be of 'AP' and 'PA', got \['LL'\]: set --views"),
        ({"views": ["PA"]}, r"concept '<chest_xray_\w+>' has . cases.*, num_cases asks for 2 .*: lower --num_cases"),
        ({"num_cases": 40}, r"concept '<chest_xray_no_finding>' has 4 cases, num_cases asks for 40 .*: lower"),
        ({"concepts": ["<chest_xray_edema>"]}, r"concepts of chest radiographs must end in one of 'no_finding>'"),
        ({"dataset_dir": "no/such/folder"}, r"dataset_dir 'no/such/folder' does not exist: set --dataset_dir"),
        ({"sequences": ["t2w"]}, r"unknown key 'sequences'"),
    ],
)
def test_setting_that_does_not_fit(
    line_of: Callable[..., str], chest_training: dict[str, Any], overrides: dict[str, Any], pattern: str
) -> None:
    assert re.search("^error: .*" + pattern, line_of("training", TRAIN, **{**chest_training, **overrides}))


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("damage", "pattern"),
    [(remove, "does not exist: download it"), (truncate, r"is unreadable or truncated \(.*\): download it again")],
)
def test_image_that_is_not_whole_is_named_or_left_out(
    run_config: Callable[..., None],
    line_of: Callable[..., str],
    chest_training: dict[str, Any],
    damaged_chexpert: Path,
    damage: Callable[[Path], None],
    pattern: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = next(damaged_chexpert.glob("*/train/patient1300000/study1/*.jpg"))  # pneumonia
    damage(bad)
    keys = {**chest_training, "dataset_dir": damaged_chexpert, "num_cases": 3}
    assert re.search(
        f"^error: '{re.escape(str(bad))}'.*{pattern}.*--skip_unreadable true$", line_of("training", TRAIN, **keys)
    )

    run_config("training", TRAIN, **{**keys, "skip_unreadable": "true"})
    assert "patient1300000" in caplog.text


@pytest.mark.skipif(not (REAL / "nih_chest_xray_64px").is_dir(), reason="real radiographs are not here")
def test_real_radiographs_run_through(run_config: Callable[..., None], quick_training: dict[str, Any]) -> None:
    keys = {"dataset_dir": REAL / "nih_chest_xray_64px", "dataset_format": "nih", "views": ["AP", "PA"]}
    run_config("training", TRAIN, **{**quick_training, **keys})
    embeddings = quick_training["output_dir"] / "embeddings"
    assert len([*embeddings.glob("*.safetensors")]) == 4
    with safe_open(embeddings / "chest_xray_cardiomegaly.safetensors", "pt") as file:
        assert file.metadata()["data_license"].startswith("NIH Clinical Center")
