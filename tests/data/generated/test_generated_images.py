# SPDX-License-Identifier: Apache-2.0
import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from medti_components.data.generated.generated_images import GeneratedImages
from medti_components.errors import DataError

CONCEPTS = ["<healthy>", "<ill>"]


def write_run(folder: Path, colours: dict[str, list[tuple[int, int, int]]], size: int = 8) -> Path:
    (folder / "images").mkdir(parents=True)
    lines = []
    for concept, own in colours.items():
        for colour in own:
            file = f"images/{len(lines):05d}.png"
            Image.new("RGB", (size, size), colour).save(folder / file)
            lines.append(json.dumps({"prompt": f"a picture of {concept}", "file": file, "seed": len(lines)}))
    (folder / "provenance.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", {"<ill>": [(255, 0, 51)] * 3, "<healthy>": [(0, 0, 0), (102, 102, 102)]})


def test_colours_become_minus_one_to_one(run_dir: Path) -> None:
    images = GeneratedImages(run_dir, CONCEPTS, 8, num_cases=2)
    ill = next(images[index] for index in range(4) if images[index]["concept"] == "<ill>")
    # 255 -> 1, 0 -> -1, 51 = 255 / 5 -> -0.6
    torch.testing.assert_close(ill["image"], torch.tensor([1.0, -1.0, -0.6]).view(3, 1, 1).expand(3, 8, 8))
    assert ill["label"] == 1


def test_takes_the_first_images_of_each_concept(run_dir: Path) -> None:
    images = GeneratedImages(run_dir, CONCEPTS, 8, num_cases=2)
    assert [Path(str(images[index]["file"])).stem for index in range(len(images))] == [
        "00003",
        "00004",
        "00000",
        "00001",
    ]
    assert [images[index]["label"] for index in range(4)] == [0, 0, 1, 1]


def test_larger_images_are_scaled_down_by_averaging(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"<healthy>": [(0, 0, 0)], "<ill>": [(0, 0, 0)]}, size=4)
    picture = Image.new("RGB", (4, 4))
    picture.putpixel((0, 0), (204, 0, 0))  # a quarter of the first 2x2 block: 51
    picture.save(folder / "images" / "00000.png")
    image = GeneratedImages(folder, CONCEPTS, 2, num_cases=1)[0]["image"]
    assert isinstance(image, torch.Tensor)
    torch.testing.assert_close(image[0], torch.tensor([[-0.6, -1.0], [-1.0, -1.0]]))


def test_says_what_the_images_were_made_with(run_dir: Path) -> None:
    path = run_dir / "provenance.jsonl"
    lines = [json.loads(line) | {"guidance_scale": 2.0, "scheduler": "Euler"} for line in path.read_text().splitlines()]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    assert GeneratedImages(run_dir, CONCEPTS, 8, num_cases=2).conditions == {
        "guidance_scale": [2.0],
        "scheduler": ["Euler"],
        "seeds": [0, 4],
    }


def refused(folder: Path, message: str, image_size: int = 8, num_cases: int = 2, key: str = "generated_dir") -> None:
    with pytest.raises(DataError, match="^" + re.escape(message)) as raised:
        GeneratedImages(folder, CONCEPTS, image_size, num_cases, key)
    assert "\n" not in str(raised.value)


def test_missing_folder_names_the_key(tmp_path: Path) -> None:
    refused(
        tmp_path / "none",
        f"baseline_dir must be the output_dir of a generating run, '{tmp_path}/none/provenance.jsonl' does not exist: ",
        key="baseline_dir",
    )


def test_too_few_images_name_the_concept(run_dir: Path) -> None:
    refused(
        run_dir,
        f"generated_dir '{run_dir}' must hold 3 images of <healthy>, got 2: generate more, or set --num_test_cases 2",
        num_cases=3,
    )


@pytest.mark.parametrize("line", ['{"prompt": "<ill>", "fi', '{"prompt": "<ill>"}', "7"])
def test_torn_provenance_names_the_line(run_dir: Path, line: str) -> None:
    path = run_dir / "provenance.jsonl"
    path.write_text(path.read_text() + line)
    refused(run_dir, f"'{path}' line 6 must be a JSON object with 'prompt' and 'file': ")


@pytest.mark.parametrize("prompt", ["a dog", "<ill> and <healthy>", "<ill> AND <healthy>", "NOT <ill>", "<illness>"])
def test_prompt_must_ask_for_one_known_concept(run_dir: Path, prompt: str) -> None:
    path = run_dir / "provenance.jsonl"
    path.write_text(json.dumps({"prompt": prompt, "file": "images/00000.png"}) + "\n" + path.read_text())
    refused(run_dir, f"'{path}' line 1: prompt must ask for exactly one of <healthy>, <ill>, got '{prompt}': ")


def test_a_concept_that_the_prompt_leads_away_from_does_not_count(run_dir: Path) -> None:
    path = run_dir / "provenance.jsonl"
    path.write_text(path.read_text().replace("a picture of <ill>", "<ill> :1.5 AND <healthy> :-0.5"))
    images = GeneratedImages(run_dir, CONCEPTS, image_size=8, num_cases=2)
    assert [item["concept"] for item in images] == ["<healthy>"] * 2 + ["<ill>"] * 2


def test_truncated_picture_is_named(run_dir: Path) -> None:
    path = run_dir / "images" / "00001.png"
    path.write_bytes(path.read_bytes()[:40])
    refused(run_dir, f"'{path}' is missing or not a readable image: generate it again")


def test_missing_picture_is_named(run_dir: Path) -> None:
    (run_dir / "images" / "00001.png").unlink()
    refused(run_dir, f"'{run_dir}/images/00001.png' is missing or not a readable image: generate it again")


def test_pictures_of_other_size_are_refused(run_dir: Path) -> None:
    Image.new("RGB", (9, 9)).save(run_dir / "images" / "00001.png")
    refused(run_dir, f"'{run_dir}/images/00001.png' must be 8x8 pixels like the images before it, got 9x9 pixels: ")


def test_pictures_too_small_are_refused(run_dir: Path) -> None:
    refused(
        run_dir,
        f"'{run_dir}/images/00003.png' must be square and at least 16 pixels wide, got 8x8 pixels: "
        "set --image_size 8 or less",
        image_size=16,
    )


def test_nothing_to_set_where_there_is_no_image(run_dir: Path) -> None:
    (run_dir / "provenance.jsonl").write_text("")
    with pytest.raises(DataError, match="must hold 2 images of <healthy>, got 0: generate more$"):
        GeneratedImages(run_dir, CONCEPTS, 8, num_cases=2)


def test_provenance_that_is_no_text_is_named(run_dir: Path) -> None:
    path = run_dir / "provenance.jsonl"
    path.write_bytes(b"\xff\xfe")
    refused(run_dir, f"'{path}' is not a readable text file: generate the images again")


def test_no_folder_names_the_key() -> None:
    message = "generated_dir must be the output_dir of a generating run, got null: generate images first, or set --gen"
    with pytest.raises(DataError, match="^" + re.escape(message)):
        GeneratedImages(None, CONCEPTS, 8, 2)


def test_deep_pictures_are_refused(run_dir: Path) -> None:
    path = run_dir / "images" / "00001.png"
    Image.new("I;16", (8, 8), 1000).save(path)
    refused(run_dir, f"'{path}' must be grey or RGB with 8 bits a channel, got mode 'I;16': save it as 8-bit PNG")


def test_pictures_that_are_not_square_are_refused(run_dir: Path) -> None:
    path = run_dir / "images" / "00003.png"
    Image.new("RGB", (12, 8)).save(path)
    refused(run_dir, f"'{path}' must be square and at least 8 pixels wide, got 12x8 pixels: crop it to a square")
