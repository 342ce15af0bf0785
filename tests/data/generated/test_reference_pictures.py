# SPDX-License-Identifier: Apache-2.0
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from generated_runs import random_pixels, write_run
from monai.bundle import ConfigParser
from PIL import Image

from medti_components.data.generated.reference_pictures import ReferencePictures
from medti_components.errors import DataError

CHEST_BUNDLE = Path(__file__).parents[3] / "bundles" / "chest_xray_textual_inversion"
ILL, HEALTHY = CONCEPTS = ["<x_ill>", "<x_healthy>"]


@pytest.fixture
def folder(tmp_path):
    for name in ("x_healthy/1.png", "x_ill/1.png", "x_ill/x_healthy.png", "other.png"):
        path = tmp_path / "real" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_pixels(len(name))).save(path)
    return tmp_path / "real"


def test_paths_say_the_concept(folder):
    pictures = ReferencePictures(folder, CONCEPTS, 16)
    assert [pictures[index]["concept"] for index in range(4)] == ["", HEALTHY, ILL, ""]


def test_pictures_are_scaled_by_averaging_areas(folder):
    image = ReferencePictures(folder, CONCEPTS, 16)[0]["image"]
    pixels = torch.from_numpy(random_pixels(len("other.png"))).permute(2, 0, 1).float()
    expected = torch.nn.functional.avg_pool2d(pixels, 2) / 127.5 - 1
    assert (image - expected).abs().max() < 1.01 / 127.5


def test_a_run_s_prompts_say_the_concept(tmp_path):
    pictures = ReferencePictures(write_run(tmp_path, [ILL, HEALTHY, f"{ILL} AND {HEALTHY}"]), CONCEPTS, 32)
    assert [item["concept"] for item in (pictures[0], pictures[1], pictures[2])] == [ILL, HEALTHY, ""]


def add_deep(folder):
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(folder / "zz.png")


def add_larger(folder):
    Image.fromarray(random_pixels(0, 40)).save(folder / "zz.png")


def add_torn(folder):
    data = (folder / "other.png").read_bytes()
    (folder / "zz.png").write_bytes(data[: len(data) // 2])


def add_cmyk(folder):
    Image.fromarray(random_pixels(0)).convert("CMYK").save(folder / "zz.png", "JPEG")


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (add_cmyk, "must be grey or RGB with 8 bits a channel, got mode 'CMYK': save it as 8-bit PNG"),
        (add_deep, "must be grey or RGB with 8 bits a channel, got mode 'I;16': save it as 8-bit PNG"),
        (add_larger, "must be 32x32 pixels like the pictures before it, got 40x40 pixels: keep pictures of one size"),
        (add_torn, "is missing or not a readable image: write it again, or take it out"),
    ],
)
def test_unfit_picture(folder, add, message):
    add(folder)
    with pytest.raises(DataError, match="^" + re.escape(f"'{folder / 'zz.png'}' {message}")):
        ReferencePictures(folder, CONCEPTS, 16)


def test_unfit_folder(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="^reference_dir '.*empty' holds no PNG or JPEG: correct --reference_dir$"):
        ReferencePictures(tmp_path / "empty", CONCEPTS, 16)
    with pytest.raises(DataError, match="^reference_dir 'no/such' is no folder: correct --reference_dir$"):
        ReferencePictures("no/such", CONCEPTS, 16)
    with pytest.raises(DataError, match="must be square and at least 64 pixels wide, got 32x32 pixels"):
        ReferencePictures(folder, CONCEPTS, 64)


def test_pictures_of_any_shape_are_prepared_as_in_training(tmp_path):
    (tmp_path / "x_ill").mkdir()
    for number, shape in enumerate(((40, 30), (20, 50))):
        pixels = np.random.default_rng(number).integers(20, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "x_ill" / f"{number}.png")
    config = json.loads((CHEST_BUNDLE / "configs" / "train.json").read_text())
    parser = ConfigParser({"preprocessing": config["preprocessing"], "image_size": 16})
    preparing = parser.get_parsed_content("preprocessing")
    pictures = ReferencePictures(tmp_path, CONCEPTS, 16, preparing)
    for number in range(2):
        case = {"concept": "", "label": 0, "patient_id": "", "study_id": ""}
        expected = preparing({**case, "image": str(tmp_path / "x_ill" / f"{number}.png")})["image"]
        assert torch.equal(torch.as_tensor(pictures[number]["image"]), torch.as_tensor(expected))
        assert pictures[number]["concept"] == ILL
    (tmp_path / "x_ill" / "0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="0.png' is unreadable or truncated"):
        ReferencePictures(tmp_path, CONCEPTS, 16, preparing)


def test_comparing_radiographs_prepares_them_as_training_does():
    config = json.loads((CHEST_BUNDLE / "configs" / "evaluate.json").read_text())
    assert config["reference_pictures"]["preparing"] == "@preprocessing"
