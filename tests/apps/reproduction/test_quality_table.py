# SPDX-License-Identifier: Apache-2.0
import csv
import json

import pytest

from medti_components.apps.reproduction.quality_table import CellQuality, GridSetting, ParameterGrid, QualityTable

WORDS = ("<a_negative>", "<a_positive>")


def estimate(value, margin=0.1):
    ends = [value - margin, value + margin]
    return {"value": value, "interval": ends, "confidence": 0.95, "method": "exact", "n": {"images": 5, "reference": 6}}


def cell(tmp_path, kid, **more) -> CellQuality:
    """The metrics of an evaluation whose words have the kernel distances ``kid`` +- 1."""
    figures = {
        word: {
            "generated": {"kid": estimate(kid + shift), "fid": estimate(7.0), "fid_as_published": estimate(9.0)},
            "real": {"kid": estimate(0.0)},
        }
        for word, shift in zip(WORDS, (-1.0, 1.0), strict=True)
    }
    document = {"auc": {"generated": estimate(0.75)}, "quality": {"features": "small", **figures}, **more}
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(document))
    return CellQuality.read(path, WORDS)


def test_metrics_are_means_over_the_words(tmp_path) -> None:
    quality = cell(tmp_path, 3.0)
    assert quality.kid.value == 3.0 and dict(quality.kid.counts) == {"images": 10, "reference": 12}
    assert quality.kid.high - quality.kid.value == pytest.approx(0.1 / 2**0.5)
    assert (quality.fid.value, quality.floor.value, quality.auc.value, quality.features) == (9.0, 0.0, 0.75, "small")


def test_an_evaluation_without_quality_has_the_classifier_s_distances(tmp_path) -> None:
    path = tmp_path / "metrics.json"
    kid = {word: {"generated": estimate(2.0), "more real": estimate(0.5)} for word in WORDS}
    path.write_text(json.dumps({"auc": {}, "kid": kid, "features": "its own"}))
    quality = CellQuality.read(path, WORDS)
    assert (quality.fid, quality.auc, quality.kid.value, quality.floor.value) == (None, None, 2.0, 0.5)
    path.write_text(json.dumps({"auc": {}, "kid": {WORDS[0]: kid[WORDS[0]]}, "features": "its own"}))
    assert CellQuality.read(path, WORDS).kid is None  # of one word only


@pytest.fixture
def table(tmp_path):
    """Fewer vectors are worse in the paper for each number; here 8 are worse, 16 better and 32 about as good."""
    grid = ParameterGrid(GridSetting(100, 2.0, 64, 100), {"num_vectors": [8, 16, 24, 32]})
    kids = {8: [3.0], 16: [1.0], 24: [], 32: [2.05], 64: [1.9, 2.1]}
    cells = [
        (each, {seed: cell(tmp_path, kid) for seed, kid in enumerate(kids[each.value])})
        for each in grid.cells("table2")
    ]
    return QualityTable(cells)


def test_the_paper_s_trend_holds_fails_or_is_open(table) -> None:
    assert [row.trend for row in table.rows] == ["holds", "fails", "", "open", ""]
    default = table.rows[-1]
    assert default.mean("kid").value == 2.0 and default.sd("kid") == pytest.approx(0.02**0.5)  # (0.1^2 + 0.1^2) / 1
    assert default.difference is None and table.rows[0].difference.value == 1.0


def test_csv_markdown_and_plot(table, tmp_path) -> None:
    table.write(tmp_path, "table2")
    paths = [tmp_path / name for name in ("table2.csv", "table2.md", "table2.png")]
    with open(paths[0], newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["value"] for row in rows] == ["8", "16", "24", "32", "64"]
    assert rows[0]["paper_fid"] == "177" and rows[0]["kid"] == "3" and rows[0]["paper_trend"] == "holds"
    assert rows[2]["kid"] == rows[2]["paper_fid"] == "" and rows[4]["kid_seed_1"] == "2.1"
    text = paths[1].read_text()
    assert "| vectors per word | 8 | 177 | 9.000 [8.929, 9.071] | 3.000 [2.929, 3.071] |" in text
    assert "| vectors per word | 24 |  | not measured | not measured | not measured |  |  |" in text
    assert "| vectors per word | **64** | 171 |" in text and "2 seed(s)" in text and "features: small" in text
    assert paths[2].read_bytes().startswith(b"\x89PNG")
