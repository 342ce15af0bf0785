# SPDX-License-Identifier: Apache-2.0
"""The chest bundle's preprocessing, which is MONAI's transforms in its config."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from medti_components.data.prepared_images import PreparedImages
from medti_components.errors import DataError


def entry(path):
    return {"image": str(path), "concept": "<a>", "label": 0, "patient_id": "1", "study_id": "2"}


def saved(path, rows, **kwargs):
    Image.fromarray(np.asarray(rows, dtype=np.uint8)).save(path, **kwargs)
    return path


def test_black_borders_go_and_the_shape_stays(tmp_path, chest_preprocessing):
    picture = np.zeros((80, 60))
    picture[10:50, 20:40] = 255  # 40 x 20 -> 64 x 32, centred
    image = chest_preprocessing(64)(entry(saved(tmp_path / "a.png", picture)))["image"]
    assert image.dtype == torch.float32
    expected = torch.full((3, 64, 64), -1.0)
    expected[:, :, 16:48] = 1
    torch.testing.assert_close(image, expected)


def test_noise_of_a_jpg_is_no_picture(tmp_path, chest_preprocessing):
    noise = np.random.default_rng(0).integers(0, 6, size=(64, 96))
    noise[:, 16:80] = 200
    image = chest_preprocessing(32)(entry(saved(tmp_path / "a.jpg", noise, quality=95)))["image"]
    assert float(image.min()) > 0.5  # the black columns are gone


def test_rows_are_rows_and_sides_stay(tmp_path, chest_preprocessing):
    """Upper left dark, upper right bright, lower half in between: neither transposed nor mirrored."""
    picture = np.full((48, 48), 128)
    picture[:24, :24], picture[:24, 24:] = 64, 255
    image = chest_preprocessing(48)(entry(saved(tmp_path / "a.png", picture)))["image"]
    corners = [float(image[0, row, column]) for row, column in ((5, 5), (5, 40), (40, 5), (40, 40))]
    assert corners == pytest.approx([64 / 127.5 - 1, 1, 128 / 127.5 - 1, 128 / 127.5 - 1], abs=1e-6)


def test_colour_becomes_grey(tmp_path, chest_preprocessing):
    picture = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    picture.paste((0, 255, 0, 255), (0, 0, 4, 8))
    picture.save(tmp_path / "a.png")
    image = chest_preprocessing(8)(entry(tmp_path / "a.png"))["image"]
    expected = torch.full((3, 8, 8), 76 / 127.5 - 1)  # 0.299 of 255
    expected[:, :, :4] = 150 / 127.5 - 1  # 0.587 of 255
    torch.testing.assert_close(image, expected)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: saved(path, np.zeros((9, 9))), "must show something, all its pixels are 0: replace it"),
        (lambda path: saved(path, np.eye(9)), "is black, nothing in it is brighter than 8: download it again"),
        (lambda path: path.write_bytes(b"no picture"), r"is unreadable or truncated \(cannot identify image file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), r"is unreadable or truncated \(.*truncated"),
        (lambda path: path.unlink(), "does not exist: download it"),
        (
            lambda path: Image.new("I;16", (4, 4)).save(path),
            "must have 8 bits a channel, got mode 'I;16': save it with 8 bits, or leave such images out",
        ),
    ],
)
def test_images_that_can_t_be_used_are_named_or_left_out(tmp_path, chest_preprocessing, damage, message):
    random = np.random.default_rng(0)
    paths = [saved(tmp_path / f"{name}.png", random.integers(0, 255, size=(40, 40))) for name in "ab"]
    damage(paths[0])
    entries = [entry(path) for path in paths]
    with pytest.raises(DataError, match=f"^'{re.escape(str(paths[0]))}' {message}.*--skip_unreadable true$"):
        PreparedImages(entries, chest_preprocessing(16), None, show_progress=False)
    images = PreparedImages(entries, chest_preprocessing(16), None, skip_unreadable=True, show_progress=False)
    assert (len(images), images.num_skipped) == (1, 1)
