# SPDX-License-Identifier: Apache-2.0
import pytest

from medti_components.apps.reproduction.quality_table import PAPER_FID, TABLES, GridSetting, ParameterGrid
from medti_components.errors import ConfigError

PAPER = GridSetting(100, 2.0, 64, 100)


def test_the_paper_s_grid_varies_one_setting_at_a_time() -> None:
    grid = ParameterGrid(PAPER, {axis: list(values) for axis, values in PAPER_FID.items()})
    cells = [cell for table in TABLES for cell in grid.cells(table)]
    assert len(cells) == 4 + 5 + 4 + 4
    assert len({cell.setting for cell in cells}) == 1 + 3 + 4 + 3 + 3  # the default and what differs from it
    for cell in cells:
        varied = [axis for axis in PAPER_FID if getattr(cell.setting, axis) != getattr(PAPER, axis)]
        assert varied == ([] if cell.is_default else [cell.axis])
        assert cell.paper == PAPER_FID[cell.axis][cell.value]
    assert {cell.paper for cell in cells if cell.is_default} == {171}


def test_differences_in_the_paper_are_to_the_middle_of_this_grid() -> None:
    grid = ParameterGrid(GridSetting(50, 2.0, 64, 10), {"num_cases": [5, 7]})
    differences = {cell.value: (cell.paper, cell.paper_difference) for cell in grid.cells("table3")}
    assert differences == {5: (203, 203 - 181), 7: (None, None), 10: (181, None)}
    grid = ParameterGrid(GridSetting(50, 4.0, 64, 10), {"guidance_scale": [1, 3, 5]})
    signs = {cell.value: cell.paper_difference for cell in grid.cells("table1") if cell.axis == "guidance_scale"}
    assert signs == {1: 168 - 211, 3: 202 - 211, 4: None, 5: 222 - 211}  # 3 is worse than the paper's 2, not than 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_vectors": 8}, "num_vectors must be a list of whole numbers from 1, got 8: write --num_vectors"),
        ({"num_vectors": [8, 200]}, "num_vectors must be at most 75, got 200: lower it in --num_vectors"),
        ({"num_vectors": [8, 0]}, r"num_vectors must be a list of whole numbers from 1, got \[8, 0\]: write"),
        ({"num_inference_steps": [2.5]}, r"num_inference_steps must be a list of whole numbers from 1, got \[2.5\]"),
        ({"guidance_scale": ["a"]}, r"guidance_scale must be a list of numbers above 0, got \['a'\]: write"),
        ({"guidance_scale": []}, r"guidance_scale must be a list of numbers above 0, got \[\]: write"),
        (
            {"num_cases": [5, 200]},
            "num_cases must be at most 100, as in the config, got 200: the cases beyond are held",
        ),
    ],
)
def test_values_that_do_not_fit(values, message) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        ParameterGrid(PAPER, values)
