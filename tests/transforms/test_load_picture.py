# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from PIL import Image

from medti_components.errors import DataError
from medti_components.transforms.load_picture import LoadPictured


def saved(path, pixels):
    Image.fromarray(np.asarray(pixels)).save(path)
    return {"image": str(path)}


def test_values_and_axes(tmp_path) -> None:
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[0, 3, 1] = 255
    image = LoadPictured("image", size=4)(saved(tmp_path / "a.png", pixels))["image"]
    assert (image.shape, image.dtype) == ((3, 4, 4), torch.float32)
    assert image[1, 0, 3] == 1 and image.sum() == -46


def test_larger_ones_are_averaged_and_grey_fills_all_channels(tmp_path) -> None:
    pixels = np.array([[0, 255], [255, 0]] * 2, dtype=np.uint8).repeat(2, axis=1)
    image = LoadPictured("image", size=2)(saved(tmp_path / "a.png", pixels))["image"]
    assert torch.equal(image[0], image[2])
    assert image.abs().max() < 0.01


@pytest.mark.parametrize("shape", [(4, 6), (2, 2)])
def test_not_square_or_too_small(tmp_path, shape) -> None:
    case = saved(tmp_path / "a.png", np.zeros((*shape, 3), dtype=np.uint8))
    with pytest.raises(
        DataError, match=f"a.png' must be square and at least 4 pixels wide, got {shape[1]}x{shape[0]} pix"
    ):
        LoadPictured("image", size=4)(case)


def test_unreadable_or_too_deep(tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="a.png' is missing or not a readable image: correct it, or leave such images"):
        LoadPictured("image", size=4)({"image": tmp_path / "a.png"})
    case = saved(tmp_path / "b.png", np.zeros((4, 4), dtype=np.uint16))
    with pytest.raises(
        DataError, match="b.png' must be grey or RGB with 8 bits a channel, got mode 'I;16.*: save it as"
    ):
        LoadPictured("image", size=4)(case)
