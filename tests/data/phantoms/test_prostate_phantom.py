# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from medti_components.data.phantoms.prostate_anatomy import Grid, draw_anatomy
from medti_components.data.phantoms.prostate_phantom import _paint, prostate_phantom


@pytest.fixture(scope="module")
def positives():
    return [prostate_phantom(seed=0, index=index, is_positive=True) for index in range(8)]


@pytest.fixture(scope="module")
def negatives():
    return [prostate_phantom(seed=0, index=index, is_positive=False) for index in range(8)]


def on_coarse_grid(mask, phantom):
    """Take a mask of the T2W grid at the centres of the voxels of ADC and HBV."""
    rows = np.rint((np.arange(128) - 63.5) * 4 + phantom.shift_mm[0] * 2 + 191.5).astype(int)
    columns = np.rint((np.arange(84) - 41.5) * 4 + phantom.shift_mm[1] * 2 + 191.5).astype(int)
    inside = (rows >= 0) & (rows < 384)
    coarse = np.zeros((mask.shape[0], 128, 84), dtype=bool)
    coarse[:, inside] = mask[:, rows[inside]][:, :, columns] > 0
    return coarse


def test_arguments_alone_decide(positives):
    again = prostate_phantom(seed=0, index=3, is_positive=True)
    other = prostate_phantom(seed=1, index=3, is_positive=True)
    for name in ("t2w", "adc", "hbv", "gland", "lesion"):
        assert np.array_equal(getattr(again, name), getattr(positives[3], name))
        assert not np.array_equal(getattr(other, name), getattr(positives[3], name))


def test_second_study_of_a_patient_shows_the_same_anatomy_anew():
    first, second = (prostate_phantom(0, index, True, patient_index=23) for index in (23, 24))
    assert np.array_equal(first.lesion, second.lesion)
    assert not np.array_equal(first.t2w, second.t2w)


def test_volumes_have_the_types_and_ranges_of_scanners(positives, negatives):
    for phantom in (*positives, *negatives):
        assert {phantom.t2w.dtype, phantom.adc.dtype, phantom.hbv.dtype} == {np.dtype(np.int16)}
        assert phantom.t2w.min() == 0
        assert 700 <= phantom.t2w.max() <= 1100
        assert phantom.adc.max() == 3000
        assert 120 <= phantom.hbv.max() <= 200


def test_lesion_is_dark_on_adc_bright_on_hbv_and_dark_on_t2w(positives):
    for phantom in positives:
        lesion, gland = on_coarse_grid(phantom.lesion, phantom), on_coarse_grid(phantom.gland, phantom)
        rest = gland & ~lesion
        assert phantom.adc[lesion].mean() < 0.65 * phantom.adc[rest].mean()
        assert phantom.hbv[lesion].mean() > 1.8 * phantom.hbv[rest].mean()
        fine_rest = (phantom.gland > 0) & (phantom.lesion == 0)
        assert phantom.t2w[phantom.lesion > 0].mean() < 0.75 * phantom.t2w[fine_rest].mean()


def test_lesion_mask_holds_the_grade_within_the_gland(positives, negatives):
    for phantom in positives:
        assert set(np.unique(phantom.lesion)) == {0, phantom.isup_grade}
        assert np.all(phantom.gland[phantom.lesion > 0] == 1)
        areas_mm2 = (phantom.lesion > 0).sum(axis=(1, 2)) * 0.25
        assert areas_mm2.max() > 45  # a disc of 7.6 mm: over three pixels across at 64 pixels for 150 mm
        assert (areas_mm2 > 0).sum() >= 2
    for phantom in negatives:
        assert phantom.isup_grade == 0
        assert not phantom.lesion.any()


def test_brightest_voxel_does_not_tell_a_lesion(positives, negatives):
    """The scale of each sequence is set outside the gland, or scaling a volume by its extremes would give it away."""
    for phantom in (*positives, *negatives):
        gland = on_coarse_grid(phantom.gland, phantom)
        assert phantom.hbv[~gland].max() == phantom.hbv.max()
        assert phantom.adc[~gland].max() == phantom.adc.max()


def test_gland_is_of_human_size(positives, negatives):
    volumes_ml = [phantom.gland.sum() * 0.75 / 1000 for phantom in (*positives, *negatives)]
    assert 12 < min(volumes_ml) < max(volumes_ml) < 60
    assert max(volumes_ml) > 1.2 * min(volumes_ml)


def test_look_alikes_are_dark_on_adc_or_bright_on_hbv_and_a_lesion_both():
    """At the centre of each finding, against the same patient painted without any."""
    seen = set()
    for index in range(40):
        random = np.random.default_rng(index)
        anatomy = draw_anatomy(random, index % 2 == 0, "hard")
        if not anatomy.findings:
            continue
        grid = Grid.centred((11, 128, 84), (3.0, 2.0, 2.0))
        with_findings = _paint(anatomy, grid, (0, 1, 2), 2.0, 2.0)
        without = _paint(replace(anatomy, findings=[]), grid, (0, 1, 2), 2.0, 2.0)
        shape, shares = anatomy.findings[-1]  # painted last: nothing lies over it
        u, v, s = shape.centre_mm
        voxel = tuple(np.abs(axis - place).argmin() for axis, place in ((grid.s, s), (grid.v, v), (grid.u, u)))
        others = [each for each, _ in anatomy.findings[:-1]]
        if any(np.linalg.norm(np.subtract(each.centre_mm, shape.centre_mm)) < 15 for each in others):
            continue
        change = [float(after[voxel] - before[voxel]) for after, before in zip(with_findings, without, strict=True)]
        assert (change[1] < -0.03) == (shares[1] > 0)
        assert (change[2] > 0.03) == (shares[2] > 0)
        seen.add(tuple(share > 0 for share in shares))
    assert seen == {(True, True, True), (True, True, False), (False, False, True)}


def test_hard_studies_have_the_lesion_s_mask_all_the_same():
    phantom = prostate_phantom(seed=0, index=1, is_positive=True, difficulty="hard")
    assert set(np.unique(phantom.lesion)) == {0, phantom.isup_grade}
    assert not prostate_phantom(seed=0, index=1, is_positive=False, difficulty="hard").lesion.any()
