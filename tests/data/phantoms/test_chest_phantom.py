# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from medti_components.data.datasets.radiographs import FINDINGS
from medti_components.data.phantoms.chest_phantom import chest_phantom

NUM = 6


def drawn(kind, index, **kwargs):
    return chest_phantom(0, kind, index, () if kind == "no_finding" else (kind,), **kwargs)


@pytest.fixture(scope="module")
def phantoms():
    return {kind: [drawn(kind, index) for index in range(NUM)] for kind in FINDINGS}


def test_arguments_alone_decide(phantoms):
    phantom = phantoms["pneumonia"][2]
    assert np.array_equal(phantom.image, drawn("pneumonia", 2).image)
    for other in (chest_phantom(1, "pneumonia", 2, ("pneumonia",)), chest_phantom(0, "others", 2, ("pneumonia",))):
        assert other.image.shape != phantom.image.shape or not np.array_equal(other.image, phantom.image)


def test_second_study_of_a_patient_shows_the_same_anatomy_anew(phantoms):
    first, again = phantoms["cardiomegaly"][0], drawn("cardiomegaly", 1, patient_index=0)
    assert first.cardiothoracic_ratio == again.cardiothoracic_ratio
    assert first.is_female == again.is_female
    assert first.image.shape != again.image.shape or not np.array_equal(first.image, again.image)


def test_shorter_edge_is_that_of_chexpert_s_small_version_and_shapes_differ(phantoms):
    shapes = {phantom.image.shape for kind in FINDINGS for phantom in phantoms[kind]}
    assert {min(shape) for shape in shapes} == {320}
    assert len(shapes) > 10
    assert any(rows > columns for rows, columns in shapes)
    assert any(rows < columns for rows, columns in shapes)


def test_some_have_black_borders():
    images = [drawn("no_finding", index).image for index in range(20)]
    edges = [[image[0], image[-1], image[:, 0], image[:, -1]] for image in images]
    with_borders = sum(any(not edge.any() for edge in four) for four in edges)
    assert 3 < with_borders < 17


def test_lungs_are_dark_and_what_fills_them_is_bright(phantoms):
    for kind, finding in (("pleural_effusion", "effusion"), ("pneumonia", "opacity")):
        for phantom in phantoms[kind]:
            filled = getattr(phantom, finding)
            air = phantom.lungs & ~phantom.heart & ~filled
            assert phantom.image[filled].mean() > phantom.image[air].mean() + 45
            assert filled.sum() > 0.015 * phantom.lungs.sum()


def test_masks_hold_the_finding_that_is_shown(phantoms):
    for kind in FINDINGS:
        for phantom in phantoms[kind]:
            assert phantom.effusion.any() == (kind == "pleural_effusion")
            assert phantom.opacity.any() == (kind == "pneumonia")
            masks = (phantom.lungs, phantom.heart, phantom.effusion, phantom.opacity)
            assert {mask.shape for mask in masks} == {phantom.image.shape}
            assert {mask.dtype for mask in masks} == {np.dtype(bool)}


def test_heart_lies_on_the_left_of_the_patient_and_is_wide_where_it_is_large(phantoms):
    def widths(kind):
        for phantom in phantoms[kind]:
            heart = phantom.heart & phantom.lungs
            columns = np.nonzero(heart.any(axis=0))[0]
            lungs = np.nonzero(phantom.lungs.any(axis=0))[0]
            middle = (lungs[0] + lungs[-1]) / 2
            assert columns.mean() > middle  # the right of the image
            yield (columns[-1] - columns[0]) / (lungs[-1] - lungs[0])

    assert min(widths("cardiomegaly")) > max(widths("no_finding")) + 0.05


def test_brightness_does_not_tell_the_kind(phantoms):
    """Exposure is drawn alike for all: the spread within a kind is larger than the distance between kinds."""
    tenths = {kind: [np.percentile(phantom.image, 99) for phantom in phantoms[kind]] for kind in FINDINGS}
    means = [np.mean(values) for values in tenths.values()]
    assert max(means) - min(means) < 2 * np.mean([np.std(values) for values in tenths.values()])


def test_views_differ(phantoms):
    assert drawn("no_finding", 0, view="PA").image.shape == phantoms["no_finding"][0].image.shape
    assert not np.array_equal(drawn("no_finding", 0, view="PA").image, phantoms["no_finding"][0].image)
    assert not any(drawn("no_finding", index, view="PA").has_devices for index in range(10))
