# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.metrics.prompt_fidelity import inpainting_fidelity, largest_change_outside


def _images(count=4):
    before = torch.zeros(count, 1, 4, 4)
    masks = torch.zeros(count, 1, 4, 4, dtype=torch.bool)
    masks[..., 1:3, 1:3] = True
    return before, masks


def _changes(before, after, masks):
    return torch.tensor([largest_change_outside(*images) for images in zip(before, after, masks, strict=True)])


def test_findings_that_appear_are_counted_and_those_that_were_there_left_out():
    before, masks = _images()
    changes = _changes(before, before + 0.5 * masks, masks)
    found = inpainting_fidelity(changes, torch.tensor([0.1, 0.2, 0.9, 0.4]), torch.tensor([0.8, 0.3, 0.9, 0.6]))
    assert found.seen_inside is not None
    assert found.seen_inside.value == pytest.approx(2 / 3) and found.seen_inside.counts == {"images": 3}
    assert found.num_seen_before == 1
    assert found.largest_change_outside == 0.0 and found.unchanged_outside.value == 1


def test_the_largest_change_outside_is_found():
    before, masks = _images()
    after = before.clone()
    after[2, 0, 0, 3] = -0.25
    after[1, 0, 1, 1] = 9.0  # inside
    found = inpainting_fidelity(_changes(before, after, masks), torch.ones(4), torch.ones(4))
    assert found.largest_change_outside == 0.25 and found.unchanged_outside.value == 0.75
    assert found.seen_inside is None and found.num_seen_before == 4
