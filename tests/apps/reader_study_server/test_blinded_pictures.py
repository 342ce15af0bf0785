# SPDX-License-Identifier: Apache-2.0
"""Pictures for blinded readers: nothing but what they show is left of them."""

import io

import numpy as np
import pytest
from generated_runs import random_pixels
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from medti_components.apps.reader_study_server.blinded_pictures import BlindedPictures
from medti_components.data.generated.generated_folder import generated_files, picture_files
from medti_components.errors import ConfigError, DataError


def saved(path, pixels, **more):
    Image.fromarray(pixels).save(path, **more)
    return path


def grey(seed, size=32):
    return random_pixels(seed, size)[..., 0]


def opened(png):
    return Image.open(io.BytesIO(png))


def test_size_depth_and_metadata_are_the_same_for_all(tmp_path):
    text = PngInfo()
    text.add_itxt("synthetic", "true")
    exif = Image.Exif()
    exif[0x010E] = "patient 1"
    deep = saved(tmp_path / "deep.png", grey(1, 64).astype(np.uint16) * 16)
    wide = saved(tmp_path / "wide.jpg", grey(2, 50)[:40], exif=exif)
    small = saved(tmp_path / "small.png", random_pixels(3), pnginfo=text)
    pictures = BlindedPictures([deep, wide], [small])
    assert (pictures.image_size, pictures.channels, pictures.is_stretched, pictures.num_cut) == (32, "grey", True, 1)
    for path in (deep, wide, small):
        picture = opened(pictures.png(path))
        assert (picture.size, picture.mode, picture.info) == ((32, 32), "L", {})


def test_eight_bit_pictures_of_one_size_stay_as_they_are(tmp_path):
    first, second = (saved(tmp_path / f"{seed}.png", random_pixels(seed)) for seed in (1, 2))
    pictures = BlindedPictures([first], [second])
    assert np.array_equal(np.array(opened(pictures.png(first))), random_pixels(1))
    assert not pictures.is_stretched


def test_contrast_does_not_depend_on_depth(tmp_path):
    eight = saved(tmp_path / "8.png", grey(1))
    sixteen = saved(tmp_path / "16.png", grey(1).astype(np.uint16) * 7)
    pictures = BlindedPictures([eight], [sixteen])
    assert pictures.png(eight) == pictures.png(sixteen)


def test_a_tint_does_not_tell_where_the_others_are_grey(tmp_path):
    real, tinted = saved(tmp_path / "r.png", grey(1)), saved(tmp_path / "t.png", random_pixels(2))
    for pictures in (BlindedPictures([real], [tinted]), BlindedPictures([tinted], [real])):
        assert {opened(pictures.png(path)).mode for path in (real, tinted)} == {"L"}
    assert {opened(BlindedPictures([real], [tinted], "colour").png(path)).mode for path in (real, tinted)} == {"RGB"}


def test_panels_show_the_channels_side_by_side(tmp_path):
    paths = [saved(tmp_path / f"{seed}.png", random_pixels(seed)) for seed in (1, 2)]
    shown = np.array(opened(BlindedPictures(paths[:1], paths[1:], "panels").png(paths[0])))
    assert np.array_equal(shown, np.concatenate([*random_pixels(1).transpose(2, 0, 1)], axis=1))


def test_the_middle_of_a_picture_is_shown(tmp_path):
    pixels = np.zeros((8, 4), dtype=np.uint8)
    pixels[2:6] = 200
    pictures = BlindedPictures([saved(tmp_path / "a.png", pixels)], [saved(tmp_path / "b.png", grey(1, 4))])
    assert np.unique(np.array(opened(pictures.png(tmp_path / "a.png")))).tolist() == [200]


def test_a_picture_without_contrast_can_be_stretched(tmp_path):
    flat = saved(tmp_path / "flat.png", np.full((4, 4), 300, dtype=np.uint16))
    pictures = BlindedPictures([flat], [saved(tmp_path / "b.png", grey(1, 4))])
    assert np.unique(np.array(opened(pictures.png(flat)))).tolist() == [0]


def test_what_cannot_be_blinded_is_refused(tmp_path):
    first, second = (saved(tmp_path / f"{seed}.png", grey(seed)) for seed in (1, 2))
    with pytest.raises(ConfigError, match=r"^channels must be one of auto, colour, grey, panels, got 'rgb'$"):
        BlindedPictures([first], [second], "rgb")
    with pytest.raises(ConfigError, match=r"^channels panels needs pictures of three channels, '.*1.png' is grey: giv"):
        BlindedPictures([first], [second], "panels")
    with pytest.raises(
        DataError, match=r"1.png' must be at least 64 pixels wide and high, got 32: set --image_size 32"
    ):
        BlindedPictures([first], [second], image_size=64)
    copy = tmp_path / "copy.png"
    copy.write_bytes(first.read_bytes())
    with pytest.raises(DataError, match=r"copy.png' and '.*1.png' are the same picture: remove one$"):
        BlindedPictures([first], [copy])
    pictures = BlindedPictures([first], [second])
    first.unlink()
    with pytest.raises(DataError, match=r"1.png' is missing or not a readable PNG or JPEG: correct or remove it$"):
        pictures.png(first)


def test_pictures_of_a_folder_are_found_but_hidden_ones_and_others(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / ".cache").mkdir()
    for name in ("a/2.PNG", "1.jpeg", "a/3.jpg", ".4.png", ".cache/5.png", "6.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [str(path.relative_to(tmp_path)) for path in picture_files(tmp_path, "real_dir")] == [
        "1.jpeg",
        "a/2.PNG",
        "a/3.jpg",
    ]


def test_a_concept_needs_a_file_that_tells_and_images_of_it(tmp_path):
    saved(tmp_path / "1.png", grey(1))
    assert generated_files(tmp_path) == [tmp_path / "1.png"]
    with pytest.raises(
        DataError, match=r"has no provenance.jsonl that says which images are of <a>: leave out --conce"
    ):
        generated_files(tmp_path, "<a>")
    (tmp_path / "provenance.jsonl").write_text('{"prompt": "<b>", "file": "1.png"}\n')
    assert generated_files(tmp_path, "<b>") == [tmp_path / "1.png"]
    with pytest.raises(DataError, match=r"holds no image of <a>: generate some$"):
        generated_files(tmp_path, "<a>")
