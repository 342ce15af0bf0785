# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import math

import numpy as np
import pytest

from medti_components.data.phantoms.prostate_anatomy import (
    HALF_ALIKE,
    LOOK_ALIKES,
    SHARE_FAINT,
    WHOLLY_ALIKE,
    Ellipsoid,
    Grid,
    draw_anatomy,
)
from medti_components.errors import ConfigError


def test_grid_is_centred():
    grid = Grid.centred((3, 4, 2), (3.0, 0.5, 2.0), shift_mm=(0.1, -0.2))
    np.testing.assert_allclose(grid.s, [-3, 0, 3])
    np.testing.assert_allclose(grid.v, [-0.65, -0.15, 0.35, 0.85], atol=1e-6)
    np.testing.assert_allclose(grid.u, [-1.2, 0.8], atol=1e-6)
    assert grid.shape == (3, 4, 2)


@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_coverage_sums_to_the_volume(angle):
    grid = Grid.centred((61, 121, 121), (0.5, 0.5, 0.5))
    shape = Ellipsoid((1.0, -2.0, 0.5), (12.0, 7.0, 9.0), angle)
    box, share = shape.coverage(grid, edge_mm=0.5)
    volume = share.sum() * 0.5**3
    assert volume == pytest.approx(4 / 3 * math.pi * 12 * 7 * 9, rel=0.02)
    assert share.min() == 0
    assert share.max() == 1
    whole = np.zeros(grid.shape)
    whole[box] = share
    assert whole[30, 60, 60] == 1


def test_the_box_leaves_nothing_out():
    grid = Grid.centred((41, 81, 81), (1.0, 1.0, 1.0))
    shape = Ellipsoid((2.0, 3.0, 0.0), (20.0, 6.0, 9.0), 0.6)
    _, share = shape.coverage(grid, edge_mm=3.0)
    for axis in range(3):
        assert share.take(0, axis).max() < 0.02
        assert share.take(-1, axis).max() < 0.02


def test_moving_scales_turns_and_shifts():
    moved = Ellipsoid((10.0, 0.0, 4.0), (3.0, 2.0, 1.0), 0.1).moved(2.0, math.pi / 2, (1.0, -1.0))
    assert moved.centre_mm == pytest.approx((1.0, 19.0, 8.0))
    assert moved.half_axes_mm == (6.0, 4.0, 2.0)
    assert moved.angle == pytest.approx(0.1 + math.pi / 2)


def test_lesions_are_of_8_to_19_mm_and_in_the_gland():
    for seed in range(200):
        anatomy = draw_anatomy(np.random.default_rng(seed), is_positive=True)
        longer, shorter, _ = anatomy.lesion.half_axes_mm
        assert 8 <= 2 * shorter <= 2 * longer <= 19.3
        offset = np.subtract(anatomy.lesion.centre_mm, anatomy.gland.centre_mm) / anatomy.gland.half_axes_mm
        assert np.linalg.norm(offset) < 1
        assert anatomy.isup_grade in (2, 3, 4, 5)


def test_negative_patients_have_no_lesion():
    anatomy = draw_anatomy(np.random.default_rng(0), is_positive=False)
    assert anatomy.lesion is None
    assert anatomy.isup_grade == 0


def test_default_patients_are_those_from_before_there_were_hard_ones():
    anatomy = draw_anatomy(np.random.default_rng(5), is_positive=True)
    parts = [*anatomy.surroundings, *anatomy.inside, (anatomy.gland, (), 0.0), (anatomy.lesion, (), 0.0)]
    numbers = [
        [round(number, 6) for number in (*shape.centre_mm, *shape.half_axes_mm, shape.angle, *signal, edge_mm)]
        for shape, signal, edge_mm in parts
    ]
    assert hashlib.sha256(json.dumps(numbers).encode()).hexdigest()[:16] == "c17c5b6608964f0d"
    assert anatomy.findings == [(anatomy.lesion, (1.0, 1.0, 1.0))]  # at full strength: times 1 changes no bit


def hard(number, is_positive):
    return [draw_anatomy(np.random.default_rng(seed), is_positive, "hard") for seed in range(number)]


def test_hard_lesions_are_small_and_one_of_five_is_faint():
    strengths = []
    for anatomy in hard(300, is_positive=True):
        longer, shorter, _ = anatomy.lesion.half_axes_mm
        assert 4.4 <= 2 * shorter <= 2 * longer <= 12.5  # 4.8 to 11.6 mm, and patients differ by 7 %
        shape, shares = anatomy.findings[-1]
        assert shape == anatomy.lesion
        assert len(set(shares)) == 1
        strengths.append(shares[0])
    faint = [strength for strength in strengths if strength < 0.5]
    assert all(0.1 <= strength <= 0.35 for strength in faint)
    assert all(0.8 <= strength <= 1.0 for strength in strengths if strength not in faint)
    assert len(faint) / 300 == pytest.approx(SHARE_FAINT, abs=0.093)  # four standard errors: 4 * sqrt(0.2 * 0.8 / 300)


def test_hard_look_alikes_are_in_both_classes():
    for is_positive in (False, True):
        kinds = [
            tuple(share > 0 for share in shares)
            for anatomy in hard(300, is_positive)
            for _, shares in (anatomy.findings[:-1] if is_positive else anatomy.findings)
        ]
        half_alike = [kind for kind in kinds if not all(kind)]
        assert {*half_alike} == {tuple(share > 0 for share in kind) for kind in LOOK_ALIKES}
        assert len(half_alike) / 300 == pytest.approx(HALF_ALIKE, abs=0.106)  # 4 * sqrt(0.3 * 0.7 / 300)
        wholly_alike = len(kinds) - len(half_alike)
        assert wholly_alike / 300 == pytest.approx(0 if is_positive else WHOLLY_ALIKE, abs=0.093)  # 0.2 * 0.8


def test_difficulty_that_there_is_not():
    with pytest.raises(ConfigError, match="^difficulty must be default or hard, got 'easy': correct --difficulty$"):
        draw_anatomy(np.random.default_rng(0), is_positive=True, difficulty="easy")
