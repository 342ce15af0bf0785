# SPDX-License-Identifier: Apache-2.0
import numpy as np
import torch
from inpainting_runs import MASKED, canvas_of, engine_of
from PIL import Image

from medti_components.handlers.contact_sheet_saver import InpaintingSheetSaver, squared


def test_row_begins_with_the_input_and_the_outline_of_the_mask(tmp_path):
    pixels = np.full((32, 32, 3), 60, np.uint8)
    saver = InpaintingSheetSaver(tmp_path, canvas_of(pixels), num_columns=2)
    saver.collect(engine_of(torch.ones(3, 3, 32, 32)))
    [row] = saver._rows.values()
    assert [label for label, _ in row] == ["input", "mask", "seed 0", "seed 1"]
    shown = dict(row)
    assert np.array_equal(shown["input"], pixels)
    outlined = shown["mask"][..., 0] != 60
    assert int(outlined.sum()) == 2 * 10 + 2 * 12 - 4
    assert (shown["mask"][outlined] == 255).all()  # bright on dark
    assert not outlined[11:19, 13:23].any()
    expected = pixels.copy()
    expected[MASKED] = 255
    assert np.array_equal(shown["seed 0"], expected)


def test_grey_16_bit_pictures_that_are_not_square_are_shown_whole(tmp_path):
    pixels = np.full((32, 60), 65535, np.uint16)
    saver = InpaintingSheetSaver(tmp_path, canvas_of(pixels, only_masked=True, padding=0))
    saver.collect(engine_of(torch.full((1, 3, 32, 32), -1.0)))
    saver.save()
    [row] = saver._rows.values()
    tile = row[0][1]
    assert tile.shape == (60, 60, 3)
    assert (tile[14:46] == 255).all()
    assert not tile[:14].any() and not tile[46:].any()
    assert not row[1][1][14:46][MASKED][0].any()  # the outline is dark on bright
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.text["prompts"] == "<a>"


def test_picture_lies_in_the_middle_of_its_square():
    assert squared(np.ones((1, 3), np.uint8)).tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0]]
