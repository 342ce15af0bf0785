# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from medti_components.metrics.nearest_source import NearestSource


def test_closeness_is_the_log_of_how_much_farther_the_next_ones_are():
    found = NearestSource.of(torch.tensor([[3.0, 0.5, 4.0, 5.0]]), list("abcd"))
    assert int(found.indices) == 1
    assert float(found.distances) == 0.5
    assert float(found.closeness) == pytest.approx(math.log(4 / 0.5))


def test_only_the_next_twenty_count():
    row = torch.cat([torch.tensor([1.0]), torch.full((20,), 2.0), torch.full((100,), 9.0)])[None]
    assert float(NearestSource.of(row, range(121)).closeness) == pytest.approx(math.log(2))


def test_other_images_of_the_nearest_one_s_patient_do_not_hide_it():
    row = torch.tensor([[1.0, 1.0, 1.0, 8.0]])
    assert float(NearestSource.of(row, ["a", "a", "a", "b"]).closeness) == pytest.approx(math.log(8))
    assert float(NearestSource.of(row, ["a", "b", "c", "d"]).closeness) == 0


def test_infinite_distances_are_left_out():
    row = torch.tensor([[torch.inf, 1.0, 2.0, torch.inf]])
    assert float(NearestSource.of(row, range(4)).closeness) == pytest.approx(math.log(2))


def test_an_identical_image_is_a_thousand_times_nearer_and_no_more():
    assert float(NearestSource.of(torch.tensor([[0.0, 2.0]]), "ab").closeness) == pytest.approx(math.log(1000))


def test_where_all_are_at_distance_zero_none_stands_out():
    assert float(NearestSource.of(torch.zeros(1, 3), "abc").closeness) == 0


def test_one_patient_alone_does_not_stand_out():
    assert float(NearestSource.of(torch.tensor([[1.0, 2.0]]), ["a", "a"]).closeness) == 0
