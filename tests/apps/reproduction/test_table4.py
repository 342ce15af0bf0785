# SPDX-License-Identifier: Apache-2.0
import csv

import pytest
import torch

from medti_components.apps.reproduction.table4 import AucTable, table4_rows
from medti_components.data.classification.classified_cases import ClassifiedCases
from medti_components.errors import ConfigError, DataError

CLASSES = ["<a_negative>", "<a_positive>"]
REAL, EQUAL, DUPLICATED = (table4_rows(2, 4)[index] for index in (0, 3, 7))


def cases(scores, studies=("1", "2", "3", "4")) -> ClassifiedCases:
    """Two negatives, then two positives, each of a patient of its own."""
    concepts = [CLASSES[0]] * 2 + [CLASSES[1]] * 2
    return ClassifiedCases(CLASSES, list(studies), [f"p{n}" for n in studies], concepts, torch.tensor(scores).double())


PERFECT, THREE_QUARTERS, HALF = cases([0.0, 1.0, 2.0, 3.0]), cases([0.0, 2.0, 1.0, 3.0]), cases([0.0, 3.0, 1.0, 2.0])


def test_mean_spread_and_differences() -> None:
    table = AucTable([(REAL, {0: HALF, 1: THREE_QUARTERS}), (EQUAL, {0: PERFECT, 1: THREE_QUARTERS}), (DUPLICATED, {})])
    real, equal, duplicated = table.rows
    assert real.aucs == {0: 0.5, 1: 0.75}
    assert real.mean == 0.625
    assert real.sd == pytest.approx(0.125 * 2**0.5)  # (d^2 + d^2) / (2 - 1), d = 1/8
    assert real.differences == {"real": None, "real_duplicated": None}
    assert equal.differences["real"].value == pytest.approx(((1 - 0.5) + (0.75 - 0.75)) / 2)
    assert (duplicated.mean, duplicated.sd) == (None, None)


def test_difference_is_over_the_seeds_that_both_have() -> None:
    table = AucTable([(REAL, {0: HALF, 1: HALF}), (EQUAL, {1: PERFECT, 2: THREE_QUARTERS})])
    assert table.rows[1].differences["real"].value == 0.5
    assert table.rows[1].differences["real"].counts["seeds"] == 1


def test_table_as_csv_markdown_and_picture(tmp_path) -> None:
    table = AucTable([(REAL, {0: HALF, 1: THREE_QUARTERS}), (EQUAL, {0: PERFECT, 1: PERFECT}), (DUPLICATED, {})])
    table.write(tmp_path, "table4")
    paths = [tmp_path / name for name in ("table4.csv", "table4.md", "table4.png")]
    with open(paths[0], newline="") as file:
        rows = [*csv.DictReader(file)]
    assert rows[0]["auc"] == "0.625" and rows[0]["paper_auc"] == "0.78" and rows[0]["difference_to_real"] == ""
    assert float(rows[1]["difference_to_real"]) == 0.375
    assert float(rows[1]["difference_to_real_low"]) <= 0.375 <= float(rows[1]["difference_to_real_high"])
    assert rows[2]["auc"] == "" and rows[2]["note"] == "4 duplicates of real"
    text = paths[1].read_text()
    assert "| 2 | 0 |  | 0.625 ± 0.177 |  |  | 0.780 ± 0.017 |" in text
    assert "| 2 | 0 | 4 duplicates of real | not measured |  |  |  |" in text
    assert "over 2 seeds" in text
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_cells_that_were_tested_on_other_cases() -> None:
    with pytest.raises(DataError, match="all cells must be tested on the same cases, got others in some"):
        AucTable([(REAL, {0: HALF, 1: cases([0.0, 1.0, 2.0, 3.0], studies="1235")})])


def test_the_paper_s_seven_rows_come_first_with_its_metrics() -> None:
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
def test_numbers_of_images_that_do_not_fit(num_real, num_synthetic, message) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        table4_rows(num_real, num_synthetic)
