# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
import torch
from PIL import Image

from medti_components.data.requests.inpainting_mask import read_mask, shape_mask
from medti_components.errors import ConfigError, DataError


def test_box_holds_the_pixels_between_its_edges():
    drawn = shape_mask("box(2,3,5,7)", (10, 8))
    assert drawn.shape == (10, 8)
    assert drawn.dtype == torch.bool
    expected = torch.zeros(10, 8, dtype=torch.bool)
    expected[3:7, 2:5] = True
    assert torch.equal(drawn, expected)


def test_ellipse_lies_about_its_centre_with_its_radii():
    rows, columns = shape_mask("Ellipse( 20.5, 30.5, 4, 8 )", (64, 48)).nonzero(as_tuple=True)
    assert (int(columns.min()), int(columns.max())) == (16, 24)
    assert (int(rows.min()), int(rows.max())) == (22, 38)
    assert len(rows) == pytest.approx(np.pi * 4 * 8, rel=0.05)


def test_millimetres_are_pixels_times_the_spacing():
    in_mm = shape_mask("ellipse(75,80,8,6) mm", (300, 300), (0.5, 0.5))
    assert torch.equal(in_mm, shape_mask("ellipse(150,160,16,12)", (300, 300)))
    stretched = shape_mask("box(0,0,10,10)mm", (20, 20), (1.0, 2.0))
    assert int(stretched.sum()) == 10 * 5


def test_per_cent_are_of_width_and_height():
    assert torch.equal(shape_mask("ellipse(25,50,25,40) %", (10, 20)), shape_mask("ellipse(5,5,5,4)", (10, 20)))
    assert torch.equal(shape_mask("box(0,0,50,100)%", (512, 512)), shape_mask("box(0,0,256,512)", (512, 512)))
    with pytest.raises(ConfigError, match=re.escape("of 100 x 100 % (x, y), got none: move or enlarge it")):
        shape_mask("box(110,0,120,50) %", (10, 20))


def test_what_reaches_beyond_the_image_is_cut_off():
    assert int(shape_mask("box(-5,-5,2,2)", (10, 10)).sum()) == 4


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "RGB", "RGBA", "P"])
def test_pixels_above_zero_of_a_picture_are_painted(tmp_path, mode):
    painted = np.zeros((6, 9), dtype=bool)
    painted[2:4, 3:8] = True
    values = painted.astype(np.uint16 if mode == "I;16" else np.uint8)  # 1 of 255 or 65535 is enough
    picture = Image.fromarray(values * 255).convert("1") if mode == "1" else Image.fromarray(values)
    if mode in ("RGB", "RGBA", "P"):
        picture = picture.convert(mode)
    picture.save(tmp_path / "mask.png")
    assert torch.equal(read_mask(tmp_path / "mask.png", (6, 9)), torch.from_numpy(painted))


def test_transparent_pixels_are_not_painted(tmp_path):
    pixels = np.full((4, 4, 4), 255, np.uint8)
    pixels[1:, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert read_mask(str(tmp_path / "mask.png"), (4, 4)).int().sum(dim=1).tolist() == [4, 0, 0, 0]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            "ellipse(1,2,3)",
            "mask must be ellipse(cx,cy,rx,ry) with four numbers, and 'mm' or '%' behind it or neither, got 'ellip",
        ),
        ("ellipse(1,2,3,four)", "mask must be ellipse(cx,cy,rx,ry) with four numbers"),
        ("ellipse(1,2,3,nan)", "mask must be ellipse(cx,cy,rx,ry) with four numbers"),
        (
            "box(1,2,3,4) cm",
            "mask must be box(x0,y0,x1,y1) with four numbers, and 'mm' or '%' behind it or neither, got 'box(1,2",
        ),
        ("box(1,2,3,4", "mask must be box(x0,y0,x1,y1) with four numbers"),
        ("circle(1,2,3)", "mask must be a file, ellipse(cx,cy,rx,ry) or box(x0,y0,x1,y1), got 'circle(1,2,3)'"),
        ("ellipse(5,5,0,3)", "mask 'ellipse(5,5,0,3)' must have radii above 0: it is ellipse(cx,cy,rx,ry)"),
        ("box(5,5,2,7)", "mask 'box(5,5,2,7)' must have x0 < x1 and y0 < y1: it is box(x0,y0,x1,y1)"),
        ("box(20,0,30,9)", "mask 'box(20,0,30,9)' must hold a pixel of the image of 12 x 10 pixels (x, y), got none"),
        ("box(1,1,3,3) mm", "mask 'box(1,1,3,3) mm' must be in pixels, as the image has no known spacing: leave out"),
    ],
)
def test_malformed_shape(mask, message):
    with pytest.raises(ConfigError, match="^" + re.escape(message)):
        read_mask(mask, (10, 12))


def test_shape_outside_the_field_of_view_says_its_size_in_millimetres():
    with pytest.raises(ConfigError, match=re.escape("of 150 x 150 mm (x, y), got none: move or enlarge it")):
        read_mask("ellipse(200,80,8,8) mm", (300, 300), (0.5, 0.5))


def test_file_that_does_not_fit(tmp_path):
    path = tmp_path / "mask.png"
    with pytest.raises(DataError, match=r"mask '.*mask.png' does not exist: set --mask to a PNG, or write ellipse"):
        read_mask(path, (4, 4))
    path.write_text("no picture")
    with pytest.raises(DataError, match=r"mask '.*mask.png' is not a readable picture"):
        read_mask(path, (4, 4))
    Image.new("L", (5, 4)).save(path)
    with pytest.raises(DataError, match=r"must be 4 x 6 pixels like the image, got 5 x 4: draw it on the image itself"):
        read_mask(path, (6, 4))
    with pytest.raises(DataError, match=r"must have a pixel above zero, got none: paint white what is to be filled in"):
        read_mask(path, (4, 5))
