# SPDX-License-Identifier: Apache-2.0
import torch
from PIL import Image

from medti_components.transforms.eight_bit_picture import from_pixels, png_text, to_pixels


def test_every_pixel_comes_back_from_its_value():
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3, 1)[..., None]
    assert to_pixels(from_pixels(pixels))[:, 0].T.tolist() == pixels[..., 0].tolist()


def test_values_out_of_range_are_cut_off_and_others_go_to_the_nearest_pixel():
    step = 1 / 127.5
    values = torch.tensor([-1.5, -1 + 0.49 * step, -1 + 0.51 * step, 1 - 0.49 * step, 1.5])
    assert to_pixels(values.expand(3, 1, -1))[0, :, 0].tolist() == [0, 0, 1, 255, 255]


def test_facts_of_any_kind_are_text_in_the_file(tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "a.png", pnginfo=png_text({"prompt": "ä <a>", "seed": 3}))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.text == {"prompt": "ä <a>", "seed": "3"}
