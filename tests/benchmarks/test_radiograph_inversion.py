# SPDX-License-Identifier: Apache-2.0
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from radiograph_inversion import main, picture_paths, read_picture, sheet, split_pictures

from medti_components.errors import DataError
from medti_components.networks.embedding_file import load_embedding


@pytest.fixture
def folder(tmp_path):
    """Six grey pictures in two subfolders, and a table of them."""
    lines = ["path,finding,view"]
    for index in range(6):
        name = f"{'ab'[index % 2]}/{index}.png"
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (32, 32), 51 * (index % 5)).save(tmp_path / name)
        lines.append(f"{name},{index % 2},{'PA' if index < 4 else 'AP'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_without_a_table_all_pictures_are_taken(folder):
    assert [path.stem for path in picture_paths(folder, None, "path", [])] == ["0", "2", "4", "1", "3", "5"]


def test_rows_must_hold_all_conditions(folder):
    paths = picture_paths(folder, folder / "labels.csv", "path", ["finding=1", "view=PA"])
    assert [path.stem for path in paths] == ["1", "3"]


def test_unfit_tables_and_folders_are_refused(folder):
    table = folder / "labels.csv"
    with pytest.raises(DataError, match=re.escape(f"'{table}' has no column 'sex': it has path, finding, view")):
        picture_paths(folder, table, "path", ["sex=F"])
    with pytest.raises(DataError, match=r"^no picture in '.*' fits: correct --image_dir, --labels_csv or --where$"):
        picture_paths(folder, table, "path", ["finding=7"])
    with pytest.raises(DataError, match="^where needs a table: give --labels_csv$"):
        picture_paths(folder, None, "path", ["finding=1"])


def test_grey_becomes_three_equal_channels_in_range(folder):
    image = read_picture(folder / "a" / "4.png", 16)  # grey 204 = 255 * 0.8 -> 0.6
    torch.testing.assert_close(image, torch.full((3, 16, 16), 0.6))


def test_broken_picture_is_named(folder):
    path = folder / "a" / "0.png"
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(DataError, match=f"^'{path}' is missing or not a readable picture: remove it"):
        read_picture(path, 16)


def test_held_out_pictures_are_not_trained_on():
    paths = [Path(str(index)) for index in range(10)]
    training, held_out = split_pictures(paths, None, 3, seed=0)
    assert sorted([*training, *held_out]) == paths
    assert len(held_out) == 3
    assert split_pictures(paths, 2, 3, seed=0) == [training[:2], held_out]
    with pytest.raises(DataError, match="^10 pictures are too few for 8 to train on and 3 held out: lower --num_cases"):
        split_pictures(paths, 8, 3, seed=0)


def test_sheet_has_a_tile_an_image():
    picture = sheet({"real": torch.ones(2, 3, 8, 8), "generated": -torch.ones(3, 3, 8, 8)}, scale=2)
    assert picture.size == (4 + 3 * 20, 2 * (16 + 16 + 4))
    assert picture.getpixel((4 + 20 + 8, 36 + 16 + 8)) == (0, 0, 0)


def test_whole_run_on_a_micro_base(folder, micro_base, tmp_path):
    sizes = {"num_vectors": 2, "max_steps": 2, "batch_size": 2, "num_held_out": 2, "num_images": 2}
    sizes |= {"num_inference_steps": 2, "guidance_scales": 1.5, "base_model": micro_base, "image_dir": folder}
    arguments = [text for key, value in sizes.items() for text in (f"--{key}", str(value))]
    output = tmp_path / "out"
    assert main([*arguments, "--output_dir", str(output)]) == 0
    results = json.loads((output / "results.json").read_text())
    assert (results["num_training"], results["num_held_out"]) == (4, 2)
    assert set(results["held_out_loss"]) == {"empty prompt", "initial rows", "learned rows"}
    assert load_embedding(output / "radiograph.safetensors").rows.shape == (2, 32)
    with Image.open(output / "contact_sheet.png") as picture:
        assert picture.height == 4 * (32 * 4 + 16 + 4)


def test_user_s_mistakes_end_in_one_line(tmp_path, capsys):
    assert main(["--image_dir", str(tmp_path), "--output_dir", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        f"error: no picture in '{tmp_path}' fits: correct --image_dir, --labels_csv or --where\n"
    )
