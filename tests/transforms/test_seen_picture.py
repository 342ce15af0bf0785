# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from PIL import Image, ImageCms

from medti_components.data.datasets.file_readers import GreyImageReader
from medti_components.data.requests.inpainting_input import load_inpainting_input
from medti_components.data.requests.inpainting_mask import picture_mask
from medti_components.errors import DataError
from medti_components.transforms.eight_bit_picture import eight_bit_picture, read_picture
from medti_components.transforms.seen_picture import as_seen
from medti_components.visualize import picture_grid

UPRIGHT = np.arange(6, dtype=np.uint8).reshape(3, 2) * 40  # three rows, two columns
TURNED = {1: UPRIGHT, 3: UPRIGHT[::-1, ::-1], 6: np.rot90(UPRIGHT), 8: np.rot90(UPRIGHT, -1)}


def lying(path, orientation, mode="L"):
    """Save a picture stored so that its EXIF orientation makes it upright."""
    picture = Image.fromarray(np.ascontiguousarray(TURNED[orientation])).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif)
    return path


READERS = {
    "training": lambda path: GreyImageReader().get_data(path)[0],
    "generated and reference pictures": lambda path: np.asarray(eight_bit_picture(path, ""))[..., 0],
    "inpainting": read_picture,
    "figures": lambda path: picture_grid.read_picture(path)[..., 0],
    "masks": lambda path: picture_mask(path, (3, 2)).numpy() * UPRIGHT,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("orientation", TURNED)
def test_pictures_are_turned_as_their_exif_says(tmp_path, read, orientation):
    assert np.array_equal(read(lying(tmp_path / "a.png", orientation)), UPRIGHT)


def test_a_picture_with_nothing_said_about_it_keeps_its_bits():
    random = np.random.default_rng(0)
    for mode, shape in (("L", (5, 7)), ("RGB", (5, 7, 3)), ("RGBA", (5, 7, 4))):
        pixels = random.integers(0, 256, shape, dtype=np.uint8)
        seen = as_seen(Image.fromarray(pixels))
        assert seen.mode == mode
        assert np.array_equal(np.asarray(seen), pixels)


def with_profile(path, profile, mode="RGB"):
    picture = Image.new(mode, (4, 4), 60 if mode == "L" else (60, 120, 200))
    picture.putpixel((0, 0), 0 if mode == "L" else (0, 0, 0))
    picture.save(path, icc_profile=profile)
    return path


def linear_profile():
    """An RGB profile of sRGB's colours without its curve: bytes of the curve of each channel are replaced."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    number = int.from_bytes(content[128:132], "big")
    for entry in range(132, 132 + 12 * number, 12):
        offset = int.from_bytes(content[entry + 4 : entry + 8], "big")
        if content[entry : entry + 4] in (b"rTRC", b"gTRC", b"bTRC"):
            content[offset : offset + 12] = b"curv" + bytes(8)  # no points: a straight line
        elif content[entry : entry + 4] == b"desc":
            content[offset:] = content[offset:].replace(b"s\0R\0G\0B", b"l\0i\0n\0e")
    return bytes(content)


def test_colours_of_another_profile_become_those_of_srgb(tmp_path):
    picture = with_profile(tmp_path / "a.png", linear_profile())
    seen = np.asarray(eight_bit_picture(picture, ""))[2, 2] / 255
    linear = np.array([60, 120, 200]) / 255
    np.testing.assert_allclose(seen, 1.055 * linear ** (1 / 2.4) - 0.055, atol=0.01)
    with pytest.raises(DataError, match="a.png' must be in sRGB, got the colour profile '.*': convert it$"):
        read_picture(picture)


def test_srgb_keeps_its_bits_and_a_broken_profile_is_an_error(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.asarray(eight_bit_picture(with_profile(tmp_path / "a.png", srgb), ""))[2, 2].tolist() == [60, 120, 200]
    broken = with_profile(tmp_path / "b.png", b"no profile")
    with pytest.raises(DataError, match=r"b.png' is unreadable.*its colour profile can't be read"):
        GreyImageReader().get_data(broken)


@pytest.mark.parametrize("colours", [[7, 7, 7, 90, 90, 90], [200, 0, 0, 0, 90, 0]])
def test_a_palette_gives_its_colours(tmp_path, colours):
    picture = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), mode="P")
    picture.putpalette(colours)
    picture.save(tmp_path / "a.png")
    pixels = read_picture(tmp_path / "a.png")
    palette = np.array(colours, np.uint8).reshape(2, 3)
    expected = palette[[[0, 1], [1, 0]]]
    assert np.array_equal(pixels, expected if colours[0] == 200 else expected[..., 0])


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_sixteen_bit_pictures_to_paint_into_use_the_bits_that_they_hold(tmp_path, bits):
    pixels = np.linspace(0, 2**bits - 1, 16).reshape(4, 4).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    source = load_inpainting_input(str(tmp_path / "a.png"), "box(0,0,2,2)")
    assert (float(source.image.min()), float(source.image.max())) == (-1, 1)
    assert source.facts["bits_in_use"] == bits
    assert np.array_equal(source.pasted(source.image, source.mask.float()), pixels)
    assert source.pasted(source.image * 0 + 1, source.mask.float()).max() == 2**bits - 1
