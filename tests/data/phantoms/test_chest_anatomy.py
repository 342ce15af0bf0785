# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from medti_components.data.phantoms.chest_anatomy import LEFT, RIGHT, Ellipse, PlaneGrid, draw_chest_anatomy, soft

DISEASES = ("cardiomegaly", "pleural_effusion", "pneumonia")
GRID = PlaneGrid.framed((220, 220), 1.5)


def drawn(seed, *findings):
    return draw_chest_anatomy(np.random.default_rng(seed), findings, is_female=seed % 2 == 0)


def test_grid_is_centred_and_turned():
    grid = PlaneGrid.framed((3, 2), 2.0, centre_mm=(10.0, 0.0))
    np.testing.assert_allclose(grid.x, [[9, 11]] * 3)
    np.testing.assert_allclose(grid.v, [[-2, -2], [0, 0], [2, 2]])
    turned = PlaneGrid.framed((3, 3), 1.0, angle=math.pi / 2)  # rows now run to the patient's right
    np.testing.assert_allclose(turned.x[:, 1], [1, 0, -1], atol=1e-6)
    np.testing.assert_allclose(turned.v[1], [-1, 0, 1], atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_share_of_an_ellipse_sums_to_its_area(angle):
    share = Ellipse((4.0, -3.0), (60.0, 35.0), angle).share(GRID, edge_mm=2.0)
    assert share.sum() * 1.5**2 == pytest.approx(math.pi * 60 * 35, rel=0.02)


def test_soft_edges_are_as_wide_as_asked_for():
    assert soft(np.array([-1.0, 1.0]), 2.0) == pytest.approx([0.5 - 0.5 * math.tanh(1), 0.5 + 0.5 * math.tanh(1)])


def test_hearts_are_above_or_below_half_the_chest_s_width():
    """A cardiothoracic ratio above 0.5 is read as cardiomegaly; both kinds keep clear of it."""
    normal = [drawn(seed).cardiothoracic_ratio for seed in range(100)]
    large = [drawn(seed, "cardiomegaly").cardiothoracic_ratio for seed in range(100)]
    assert 0.4 <= min(normal) < max(normal) <= 0.49
    assert 0.6 <= min(large) < max(large) <= 0.72


def test_drawn_width_of_the_heart_is_the_ratio():
    for seed in range(5):
        anatomy = drawn(seed, "cardiomegaly")
        columns = GRID.x[0][(anatomy.heart.share(GRID, 0.1) > 0.5).any(axis=0)]
        ratio = (columns.max() - columns.min() + 1.5) / (2 * anatomy.half_width_mm)
        assert ratio == pytest.approx(anatomy.cardiothoracic_ratio, abs=0.015)


def test_left_and_right_are_those_of_the_body():
    for seed in range(50):
        anatomy = drawn(seed, *DISEASES)
        assert anatomy.heart.centre_mm[0] > 0  # to the left
        assert anatomy.aortic_knob.centre_mm[0] > 0
        assert anatomy.stomach_gas is None or anatomy.stomach_gas.centre_mm[0] > 0
        assert anatomy.dome_v[RIGHT] < anatomy.dome_v[LEFT]  # the liver lifts the right dome


def test_findings_are_those_asked_for():
    for seed in range(20):
        assert (drawn(seed).effusions, drawn(seed).opacities) == ([], [])
        for finding in DISEASES:
            anatomy = drawn(seed, finding)
            assert bool(anatomy.effusions) == (finding == "pleural_effusion")
            assert bool(anatomy.opacities) == (finding == "pneumonia")
            assert (anatomy.cardiothoracic_ratio > 0.5) == (finding == "cardiomegaly")


def test_fluid_fills_the_recess_and_stands_highest_at_the_wall():
    for seed in range(10):
        anatomy = drawn(seed, "pleural_effusion")
        share = anatomy.effusion_share(GRID)
        for fluid in anatomy.effusions:
            tops = []
            for t in (0.5 * anatomy.half_width_mm, anatomy.half_width_mm - 8):
                column = int(np.argmin(np.abs(GRID.x[0] - fluid.side * t)))
                rows = GRID.v[:, column][share[:, column] > 0.5]
                assert rows.max() >= anatomy.diaphragm_v(np.array(t), fluid.side) - 3
                tops.append(rows.min())
            assert tops[1] < tops[0] < anatomy.dome_v[fluid.side] - 5


def test_patches_leave_the_recesses_clear():
    for seed in range(10):
        anatomy = drawn(seed, "pneumonia")
        share = anatomy.opacity_share(GRID)
        assert (share > 0.5).sum() * 1.5**2 > 300  # mm^2: more than seven pixels of a 64-pixel image
        assert share[GRID.v > max(anatomy.dome_v.values()) + 12].max() < 0.2
