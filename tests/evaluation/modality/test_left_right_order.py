# SPDX-License-Identifier: Apache-2.0
import re

import pytest
import torch
from report_pages import page_of

from medti_components.data.datasets.radiographs import FINDINGS
from medti_components.data.phantoms.chest_phantom import chest_phantom
from medti_components.errors import DataError
from medti_components.evaluation.evaluation import EvaluatedImages
from medti_components.evaluation.modality.left_right_order import AsymmetryAxis, LeftRightOrder

TOKENS = [f"<chest_xray_{finding}>" for finding in FINDINGS]


def radiographs(seed, n):
    """n phantoms of each finding, scaled to 32 pixels."""
    items = []
    for finding, token in zip(FINDINGS, TOKENS, strict=True):
        for index in range(n):
            image = torch.from_numpy(chest_phantom(seed, finding, index, [finding][finding == FINDINGS[0] :]).image)
            grey = torch.nn.functional.interpolate(image[None, None] / 127.5 - 1, 32, mode="bilinear", antialias=True)
            items.append({"image": grey[0].expand(3, 32, 32), "concept": token})
    return items


@pytest.fixture(scope="module")
def learned_from():
    return radiographs(0, 8)


@pytest.fixture(scope="module")
def held_out():
    return radiographs(1, 5)


def measured(generated, reference, training, tmp_path):
    return LeftRightOrder()(EvaluatedImages(generated, reference, training, TOKENS, tmp_path))


def mirrored(items):
    return [{**item, "image": item["image"].flip(-1)} for item in items]


def test_mirrored_phantoms_are_told_from_others(learned_from, held_out, tmp_path):
    order = measured(mirrored(held_out), held_out, learned_from, tmp_path).metrics["order"]["all"]
    assert order["real"].value >= 0.95
    assert order["generated"].value == 1 - order["real"].value  # here: the same images, mirrored
    assert order["asymmetry of generated"].value == pytest.approx(-order["asymmetry of real"].value)
    assert order["difference"].high < -0.5
    assert order["real"].counts == {"images": 20} and order["real"].low < order["real"].value


def test_half_of_the_images_mirrored_is_chance(learned_from, held_out, tmp_path):
    half = [item if index % 2 else {**item, "image": item["image"].flip(-1)} for index, item in enumerate(held_out)]
    result = measured(half, held_out, learned_from, tmp_path)
    order = result.metrics["order"]["all"]
    assert order["generated"].low < 0.5 < order["generated"].high
    assert order["asymmetry of generated"].low < 0 < order["asymmetry of generated"].high
    assert "of the generated images" in result.summary[0]
    page = page_of(result.sections)
    assert all(token.strip("<>") in page for token in TOKENS) and "data:image/png" in page


def test_exposure_of_one_side_changes_little(learned_from, held_out):
    axis = AsymmetryAxis(torch.stack([item["image"] for item in learned_from]))
    images = torch.stack([item["image"] for item in held_out])
    slope = torch.linspace(-0.1, 0.1, 32)
    assert float((axis(images + slope) - axis(images)).abs().max()) < 0.5


def test_without_images_to_learn_from_it_is_undetermined(held_out, tmp_path):
    result = measured(held_out, held_out, None, tmp_path)
    assert "num_cases is 0" in result.metrics["undetermined"] and "Undetermined" in page_of(result.sections)


def test_symmetric_images_cannot_be_learned_from(tmp_path):
    blank = [{"image": torch.zeros(3, 32, 32), "concept": token} for token in TOKENS]
    message = "real images must differ from their mirror images, got symmetric ones: correct --dataset_dir"
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        measured(blank, blank, blank, tmp_path)
