# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.errors import DataError
from medti_components.metrics.inpainting_fidelity import measure_inpainting


def _images(count=4):
    before = torch.zeros(count, 1, 4, 4)
    masks = torch.zeros(count, 1, 4, 4, dtype=torch.bool)
    masks[..., 1:3, 1:3] = True
    return before, masks


def test_findings_that_appear_are_counted_and_those_that_were_there_left_out():
    before, masks = _images()
    after = before + 0.5 * masks
    found = measure_inpainting(
        before, after, masks, torch.tensor([0.1, 0.2, 0.9, 0.4]), torch.tensor([0.8, 0.3, 0.9, 0.6])
    )
    assert found.seen_inside is not None
    assert found.seen_inside.value == pytest.approx(2 / 3) and found.seen_inside.counts == {"images": 3}
    assert found.num_seen_before == 1
    assert found.largest_change_outside == 0.0


def test_the_largest_change_outside_is_found():
    before, masks = _images()
    after = before.clone()
    after[2, 0, 0, 3] = -0.25
    after[1, 0, 1, 1] = 9.0  # inside
    found = measure_inpainting(before, after, masks, torch.ones(4), torch.ones(4))
    assert found.largest_change_outside == 0.25
    assert found.seen_inside is None and found.num_seen_before == 4


def test_shapes_are_checked():
    before, masks = _images()
    with pytest.raises(DataError, match=r"masks \(n, 1, H, W\)"):
        measure_inpainting(before, before, masks[:2], torch.ones(4), torch.ones(4))
