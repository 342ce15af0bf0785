# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from medti_components.handlers.contact_sheet_saver import LINE, MARGIN, TILE, ContactSheetSaver
from medti_components.inferers.prompt_composition import parse_prompt


def batch_of(prompt: str, values: list[float]) -> SimpleNamespace:
    images = torch.stack([torch.stack([torch.full((32, 32), value + 0.2 * c) for c in range(3)]) for value in values])
    seeds = torch.arange(len(values))
    state = SimpleNamespace(
        batch={"prompt": [parse_prompt(prompt)] * len(values), "seed": seeds}, output={"pred": images}
    )
    return SimpleNamespace(state=state)


def test_a_row_a_prompt_in_colour(tmp_path):
    saver = ContactSheetSaver(tmp_path, num_columns=2)
    saver.collect(batch_of("<a>", [-1.0, 0.0, 0.5]))
    saver.collect(batch_of("<b>", [0.5]))
    saver.save()
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.text["synthetic"] == "true"
        assert sheet.text["prompts"] == "<a>\n<b>"
        pixels = np.asarray(sheet)
    top = LINE + 2 * MARGIN + 2 * LINE + TILE // 2
    assert pixels[top, MARGIN + TILE // 2] == pytest.approx([0, 25.5, 51], abs=0.51)  # -1, -0.8, -0.6 in 0..255
    assert pixels[top, 2 * MARGIN + TILE + TILE // 2] == pytest.approx([127.5, 153, 178.5], abs=0.51)
    row = 2 * LINE + TILE + 2 * MARGIN
    assert pixels[top + row, MARGIN + TILE // 2] == pytest.approx([191.25, 216.75, 242.25], abs=0.51)
    assert (pixels[top, 2 * (MARGIN + TILE) + MARGIN :] == 255).all()  # the third image is left out


def test_a_grey_row_a_sequence(tmp_path):
    saver = ContactSheetSaver(tmp_path, sequences=["t2w", "adc", "hbv"])
    saver.collect(batch_of("<a>", [-1.0]))
    pixels = np.asarray(saver.drawn())
    for line, value in enumerate((0, 25.5, 51)):
        y = LINE + 2 * MARGIN + 2 * LINE + line * (TILE + MARGIN) + TILE // 2
        assert pixels[y, 52 + TILE // 2] == pytest.approx([value] * 3, abs=0.51)


def test_long_and_unusual_prompts_fit(tmp_path):
    saver = ContactSheetSaver(tmp_path)
    saver.collect(batch_of("很 " + "long " * 200, [0.0]))
    saver.collect(batch_of("", [0.0]))
    saver.save()
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.width < 600


def test_run_without_images_leaves_no_sheet(tmp_path):
    ContactSheetSaver(tmp_path).save()
    assert not (tmp_path / "contact_sheet.png").exists()
