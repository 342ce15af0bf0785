# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from smooth_images import smooth_images

from medti_components.metrics.aligned_correlation import AlignedCorrelation

SOURCES = smooth_images(12, "sources", edge=64)
COMPARE = AlignedCorrelation(show_progress=False)


def crop(images: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.interpolate(images[:, :, 3:57, 8:62], (64, 64), mode="bilinear")


CHANGES = {
    "none": lambda images: images,
    "mirrored": lambda images: images.flip(-1),
    "shifted by three pixels": lambda images: images.roll((3, -3), (2, 3)),
    "cropped": crop,
    "noised": lambda images: images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0)),
    "darker and of less contrast": lambda images: images * 0.6 - 0.3,
    "one channel brighter": lambda images: images + torch.tensor([0.3, 0.0, 0.0])[:, None, None],
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_image_correlates_best_with_what_it_was_made_from(change):
    found = COMPARE(CHANGES[change](SOURCES), SOURCES)
    assert found.argmax(dim=1).tolist() == list(range(12))
    assert found.diagonal().min() > 0.9
    assert found.max() <= 1 + 1e-5


def test_an_image_upside_down_is_found_only_where_it_has_no_up():
    turned = SOURCES[:1].rot90(1, (2, 3))
    anyhow = AlignedCorrelation(any_orientation=True, show_progress=False)
    assert anyhow(turned, SOURCES)[0, 0] == pytest.approx(1, abs=1e-4)
    assert COMPARE(turned, SOURCES)[0, 0] < 0.9


def test_the_close_look_at_candidates_changes_no_figure():
    few = AlignedCorrelation(num_candidates=5, show_progress=False)(SOURCES[:3], SOURCES)
    every = COMPARE(SOURCES[:3], SOURCES)
    looked_at = few.isfinite()
    assert looked_at.sum(dim=1).tolist() == [5, 5, 5]
    torch.testing.assert_close(few[looked_at], every[looked_at])
    assert bool((few[~looked_at] == -torch.inf).all())


def test_grey_images_are_compared_on_one_channel():
    grey = smooth_images(4, "grey", in_grey=True)
    apart = grey.clone()
    apart[0, 2, 0, 0] += 1e-6  # no longer grey
    torch.testing.assert_close(COMPARE(grey, grey), COMPARE(apart, grey), atol=1e-4, rtol=0)


def test_a_flat_image_is_like_no_other():
    flat = torch.full((1, 3, 64, 64), 0.3)
    assert float(COMPARE(flat, SOURCES).abs().max()) < 0.01


def test_orientations_are_as_many_as_a_square_has():
    image = torch.arange(4.0).view(1, 2, 2)
    both = [tuple(each.flatten().tolist()) for each in COMPARE.orientations(image)]
    every = {tuple(each.flatten().tolist()) for each in AlignedCorrelation(True).orientations(image)}
    assert both == [(0, 1, 2, 3), (1, 0, 3, 2)]
    assert len(every) == 8
