# SPDX-License-Identifier: Apache-2.0
import numpy as np
from PIL import Image

from medti_components.visualize.picture_grid import PictureGrid, channel, outlined, read_picture


def test_rows_of_different_length_and_missing_pictures(tmp_path) -> None:
    grid = PictureGrid("Synthetic images")
    grid.add("colour", [("a", np.zeros((8, 8, 3), dtype=np.uint8)), ("b", None)])
    grid.add("grey", [("c", np.full((8, 8), 255, dtype=np.uint8))])
    path = grid.write(tmp_path / "grid.png")
    with Image.open(path) as picture:
        assert picture.size[0] > 2 * 100 and picture.size[1] > 2 * 100


def test_pictures_are_read_in_colour(tmp_path) -> None:
    path = tmp_path / "grey.png"
    assert read_picture(path) is None and channel(None, 0) is None
    Image.fromarray(np.full((4, 4), 7, dtype=np.uint8)).save(path)
    assert channel(read_picture(path), 2).tolist() == [[7] * 4] * 4


def test_outline_is_white_and_the_rest_as_it_was() -> None:
    picture = np.full((5, 5, 3), 9, dtype=np.uint8)
    mask = np.zeros((5, 5, 3), dtype=np.uint8)
    mask[1:4, 1:4] = 255
    shown = outlined(picture, mask)
    assert (shown == 255).all(axis=-1).sum() == 8 and shown[2, 2, 0] == 9 and shown[0, 0, 0] == 9
    assert (picture == 9).all()
    assert outlined(None, mask) is None
