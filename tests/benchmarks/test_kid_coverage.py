# SPDX-License-Identifier: Apache-2.0
import torch
from kid_coverage import coverage, halves, main, normal


def test_intervals_hold_zero_as_often_as_they_say():
    pool = torch.randn(400, 12, generator=torch.Generator().manual_seed(0)).abs()
    for draw in (halves(pool, 100), normal(100, 12)):
        held, value, width = coverage(draw, 200, 0, "test")
        assert 0.9 <= held <= 0.99
        assert abs(value) < width


def test_two_sets_have_no_image_in_common():
    pool = torch.arange(20.0)[:, None]
    first, second = halves(pool, 10)(torch.Generator().manual_seed(0))
    assert sorted([*first[:, 0].tolist(), *second[:, 0].tolist()]) == pool[:, 0].tolist()


def test_table_has_a_row_for_each_number_of_images(capsys):
    main(["--num_trials", "2", "--num_images", "4", "5", "--num_scenes", "10"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 2 * 2
    assert lines[2].startswith("| embedded, scenes | 4 | 2 | ")
