# SPDX-License-Identifier: Apache-2.0
"""The folders of composing, interpolating and inpainting runs, read back."""

import re

import numpy as np
import pytest
import torch
from generated_runs import SIZE, change_lines, random_pixels, write_inpainting, write_interpolation, write_run
from PIL import Image

from medti_components.errors import DataError
from medti_components.evaluation.findings.finding_concepts import FindingConcepts
from medti_components.evaluation.findings.judged_images import ComposedImages, InpaintedImages, InterpolatedImages

HEALTHY, HEART, PNEUMONIA = TOKENS = ["<x_no_finding>", "<x_cardiomegaly>", "<x_pneumonia>"]
FINDINGS = FindingConcepts.of(TOKENS)


def test_composed_images_carry_what_was_asked_for(tmp_path):
    write_run(tmp_path, [f"{HEART} :0.5 AND {PNEUMONIA} :0.5", f"{PNEUMONIA} AND NOT {HEART}"], guidance_scale=3.0)
    images = ComposedImages(tmp_path, FINDINGS, SIZE)
    assert [images[index]["label"].tolist() for index in range(2)] == [[1, 1], [0, 1]]
    assert [images[index]["concept"] for index in range(2)] == ["cardiomegaly + pneumonia", "pneumonia"]
    expected = torch.from_numpy(random_pixels(1)).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(images[1]["image"], expected)
    assert images.conditions == {"guidance_scale": [3.0], "scheduler": ["A"], "seeds": [0, 1]}


def test_runs_in_folders_of_their_own_are_read_together(tmp_path):
    for name in ("b", "a"):
        write_run(tmp_path / name, [HEART])
    (tmp_path / "no_run").mkdir()
    assert len(ComposedImages(tmp_path, FINDINGS, SIZE)) == 2


def test_rows_of_an_interpolation_are_found(tmp_path):
    write_interpolation(tmp_path, HEALTHY, PNEUMONIA, num_rows=2, weights=(1.0, 0.0, 0.25))
    images = InterpolatedImages(tmp_path, FINDINGS, SIZE)
    (rows,) = images.rows
    assert (rows.name, rows.finding, rows.weights.tolist()) == (f"{HEALTHY} to {PNEUMONIA}", 1, [0, 0.25, 1])
    # images 0, 1 are of weight 1, 2, 3 of weight 0, 4, 5 of weight 0.25; even ones are of the first seed
    assert rows.indices.tolist() == [[2, 4, 0], [3, 5, 1]]
    assert len(images) == 6


def test_a_way_back_is_measured_by_the_weight_of_the_finding_too(tmp_path):
    write_interpolation(tmp_path / "back", HEART, HEALTHY, num_rows=1, weights=(0.0, 0.25))
    write_interpolation(tmp_path / "over", HEART, PNEUMONIA, num_rows=1, weights=(0.0, 0.25))
    back, over = InterpolatedImages(tmp_path, FINDINGS, SIZE).rows
    assert (back.finding, back.weights.tolist(), back.indices.tolist()) == (0, [0.75, 1], [[1, 0]])
    assert (over.finding, over.weights.tolist(), over.indices.tolist()) == (1, [0, 0.25], [[2, 3]])


def test_the_same_seed_in_two_runs_makes_two_rows(tmp_path):
    for name in ("a", "b"):
        write_interpolation(tmp_path / name, HEALTHY, HEART, num_rows=1)
    (rows,) = InterpolatedImages(tmp_path, FINDINGS, SIZE).rows
    assert rows.indices.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([HEART], "line 1: prompt must be of two parts, as an interpolating run's are, got '<x_cardiomegaly>': "),
        ([f"{HEALTHY} AND a dog"], "line 1: prompt must go to or from one of <x_cardiomegaly>, <x_pneumonia>, got "),
        ([f"{HEALTHY} AND <other>"], "line 1: unknown concept '<other>', known are <x_no_finding>, "),
        (
            [f"{HEALTHY} :0.5 AND {HEART} :0.5"],
            "must hold the same two or more weights of each seed, got [0.5] of seed 0 from <x_no_finding> to "
            "<x_cardiomegaly> and [0.5] before: generate the rows again",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path, prompts, message):
    write_run(tmp_path, prompts)
    with pytest.raises(DataError, match=re.escape(message)):
        InterpolatedImages(tmp_path, FINDINGS, SIZE)


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_inpainted_images_come_with_what_they_were(tmp_path, mode):
    write_inpainting(tmp_path, [HEART], mode)
    item = InpaintedImages(tmp_path, FINDINGS, SIZE)[0]
    assert item["change_outside"] == 0
    before = random_pixels(100) if mode == "RGB" else np.repeat(random_pixels(100)[..., :1], 3, axis=2)
    torch.testing.assert_close(item["before"], torch.from_numpy(before).permute(2, 0, 1) / 127.5 - 1)
    changed = (item["image"] != item["before"]).any(dim=0)
    assert torch.equal(changed, item["weight"] > 0)
    assert item["label"].tolist() == [1, 0]


def test_a_change_outside_the_mask_is_found_in_grey_levels(tmp_path):
    write_inpainting(tmp_path, [HEART, HEART], "L")
    path = tmp_path / "images" / "1.png"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] = pixels[0, 0] ^ 3  # at most 3 levels away
    pixels[SIZE // 2, SIZE // 2 - 1] ^= 255  # within the soft rim
    Image.fromarray(pixels).save(path)
    images = InpaintedImages(tmp_path, FINDINGS, SIZE)
    assert images[0]["change_outside"] == 0 and 1 <= images[1]["change_outside"] <= 3


def test_larger_pictures_are_scaled_down_but_compared_as_they_are(tmp_path):
    write_inpainting(tmp_path, [HEART], size=2 * SIZE)
    item = InpaintedImages(tmp_path, FINDINGS, SIZE)[0]
    assert item["image"].shape == item["before"].shape == (3, SIZE, SIZE)
    assert item["weight"].shape == (2 * SIZE, 2 * SIZE) and item["change_outside"] == 0


def of_volumes(folder):
    change_lines(folder, lambda number, entry: entry.update(image=["a.mha", "b.mha"], image_sha256=["1", "2"]))


def repainted_source(folder):
    Image.new("RGB", (SIZE, SIZE)).save(folder / "source_0.png")


def of_other_kind(folder):
    Image.new("L", (SIZE, SIZE)).save(folder / "images" / "0.png")


def of_other_size(folder):
    Image.new("RGB", (SIZE, SIZE - 1)).save(folder / "images" / "0.png")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (of_volumes, "line 1: must have 'image' of one picture, as an inpainting run's lines have: correct --inp"),
        (repainted_source, "has changed since it was painted into: put it back, or paint the image again"),
        (of_other_kind, "line 1: image and '"),
        (of_other_size, "must be of one size, got {'before': (32, 32), 'image': (31, 32), 'mask': (32, 32)}: paint"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path, damage, message):
    write_inpainting(tmp_path, [HEART])
    damage(tmp_path)
    with pytest.raises(DataError, match=re.escape(message)):
        InpaintedImages(tmp_path, FINDINGS, SIZE)
