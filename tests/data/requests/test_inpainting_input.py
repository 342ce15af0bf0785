# SPDX-License-Identifier: Apache-2.0
import hashlib
import re

import numpy as np
import pytest
import torch
from PIL import Image

from medti_components.data.requests.inpainting_input import InpaintingInput, load_inpainting_input
from medti_components.errors import ConfigError, DataError

RANDOM = np.random.default_rng(0)
PICTURES = {
    "grey": RANDOM.integers(0, 256, (20, 30), dtype=np.uint8),
    "colour": RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8),
    "deep": RANDOM.integers(0, 65536, (20, 30), dtype=np.uint16),
}


def saved(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return tmp_path / "image.png"


@pytest.mark.parametrize("kind", PICTURES)
def test_picture_is_read_and_its_pixels_out_of_the_mask_are_kept_bit_for_bit(tmp_path, kind):
    pixels = PICTURES[kind]
    source = load_inpainting_input(str(saved(tmp_path, pixels)), "box(3,4,9,8)")
    assert source.size == (20, 30)
    assert source.image.shape == (3, 20, 30)
    assert source.image.dtype == torch.float32
    highest = 65535 if kind == "deep" else 255
    channel = pixels if pixels.ndim == 2 else pixels[..., 0]
    np.testing.assert_allclose(source.image[0].numpy(), channel / highest * 2 - 1, atol=1e-6)
    assert int(source.mask.sum()) == 24

    weight = source.mask.float()
    pasted = source.pasted(torch.full((3, 20, 30), 1.0), weight)
    assert pasted.dtype == pixels.dtype
    assert pasted.shape == pixels.shape
    inside = source.mask.numpy()
    assert (pasted[inside] == highest).all()
    assert np.array_equal(pasted[~inside], pixels[~inside])
    assert np.array_equal(source.pasted(source.image, weight), pixels)  # its own values, there and back


def test_soft_weight_mixes_both():
    source = InpaintingInput(np.full((1, 2), 100, np.uint8), torch.ones(1, 2, dtype=torch.bool), {})
    assert source.pasted(torch.full((3, 1, 2), -1.0), torch.tensor([[0.25, 1.0]])).tolist() == [[75, 0]]


def test_grey_pictures_take_the_mean_of_the_channels():
    source = InpaintingInput(np.zeros((1, 1), np.uint8), torch.ones(1, 1, dtype=torch.bool), {})
    painted = torch.tensor([1.0, 1.0, -1.0]).reshape(3, 1, 1)
    assert source.pasted(painted, torch.ones(1, 1)).tolist() == [[170]]


def test_millimetres_need_a_known_field_of_view(tmp_path):
    path = saved(tmp_path, np.zeros((60, 60), np.uint8))
    source = load_inpainting_input(path, "box(50,75,75,100) mm", field_of_view_mm=150.0)
    rows, columns = source.mask.nonzero(as_tuple=True)
    assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (30, 39, 20, 29)
    with pytest.raises(ConfigError, match="must be in pixels, as the image has no known spacing"):
        load_inpainting_input(path, "box(50,75,75,100) mm")


def test_facts_name_the_image_and_its_hash(tmp_path):
    path = saved(tmp_path, PICTURES["grey"])
    facts = load_inpainting_input(path, "box(0,0,4,4)").facts
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts == {"mask": "box(0,0,4,4)", "image": str(path), "image_sha256": digest}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"image": None}, ConfigError, "image must be given for inpainting: set --image to the picture to paint into"),
        ({"mask": None}, ConfigError, "mask must be given for inpainting: set --mask to a PNG, ellipse(cx,cy,rx,ry)"),
        ({"image": 5}, ConfigError, "image must be the picture to paint into, got 5: correct --image"),
        ({"mask": ["a", "b"]}, ConfigError, "mask must be a file, ellipse(cx,cy,rx,ry) or box(x0,y0,x1,y1), got ['a',"),
        ({"image": "none.png"}, DataError, "image 'none.png' does not exist: set --image to a PNG"),
        ({"image": ["a.png", "b.png"]}, ConfigError, "image must be one picture, or volumes that end in .mha, got ['a"),
        ({"image": "a_t2w.mha"}, ConfigError, "image must be a picture (PNG), got the volume 'a_t2w.mha': save the sl"),
        (
            {"slice_index": 3},
            ConfigError,
            "slice_index must be null for a picture, it is for volumes: leave out --slic",
        ),
        ({"gland": "g.nii.gz"}, ConfigError, "gland must be null for a picture, it is for volumes: leave out --gland"),
    ],
)
def test_what_does_not_fit(tmp_path, arguments, error, message):
    path = saved(tmp_path, PICTURES["grey"])
    with pytest.raises(error, match="^" + re.escape(message)):
        load_inpainting_input(**{"image": str(path), "mask": "box(0,0,4,4)", **arguments})


def test_file_that_is_no_picture_or_of_another_kind(tmp_path):
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(DataError, match=r"image '.*text.png' is not a readable picture: set --image to a PNG"):
        load_inpainting_input(tmp_path / "text.png", "box(0,0,4,4)")
    Image.new("RGBA", (8, 8)).save(tmp_path / "rgba.png")
    with pytest.raises(DataError, match=r"must be 8-bit grey or RGB or 16-bit grey, got mode 'RGBA': convert it"):
        load_inpainting_input(tmp_path / "rgba.png", "box(0,0,4,4)")
