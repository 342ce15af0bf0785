# SPDX-License-Identifier: Apache-2.0
import pytest

from medti_components.apps.reproduction.auc_table import table4_rows
from medti_components.errors import ConfigError


def test_the_paper_s_seven_rows_come_first_with_its_figures() -> None:
    rows = table4_rows(200, 2000)
    assert [(row.num_real, row.num_synthetic, row.has_few_words, row.paper) for row in rows[:7]] == [
        (200, 0, False, (0.780, 0.017)),
        (0, 200, False, (0.737, 0.019)),
        (0, 2000, False, (0.766, 0.020)),
        (200, 200, False, (0.773, 0.015)),
        (200, 2000, False, (0.803, 0.009)),
        (0, 2000, True, (0.562, 0.036)),
        (200, 2000, True, (0.745, 0.012)),
    ]
    assert len(rows) == 11
    assert all(row.paper is None and row.note for row in rows[7:])
    assert len({row.name for row in rows}) == 11


def test_controls_differ_from_real_only_in_one_thing_each() -> None:
    controls = {row.name: row for row in table4_rows(200, 2000)[7:]}
    assert controls["real_duplicated"].keys == {"num_duplicates": 2000}
    assert controls["real_augmented"].keys == {"augmentation_level": "heavy"}
    assert controls["pretrained"].initial_row == "synthetic_many"
    assert controls["real_few_synthetic_equal"].has_few_words


@pytest.mark.parametrize(
    ("num_real", "num_synthetic", "message"),
    [
        (0, 2000, "num_real must be an even number from 2, half of each class, got 0: correct --num_real"),
        (200, 2001, "num_synthetic must be an even number from 2, half of each class, got 2001: correct --num_syn"),
        (200, 200, "num_synthetic must be larger than num_real, 200, got 200: raise it"),
    ],
)
def test_numbers_that_do_not_fit(num_real, num_synthetic, message) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        table4_rows(num_real, num_synthetic)
