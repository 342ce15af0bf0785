# SPDX-License-Identifier: Apache-2.0
import json
import re

import pytest
import torch

from medti_components.errors import ConfigError
from medti_components.evaluation.evaluation_part import PartResult
from medti_components.evaluation.image_comparison import ImageComparison

IMAGES = [{"image": torch.zeros(3, 8, 8), "concept": "<a>"}]


def part(images):
    return PartResult("count", {"n": [len(images.generated), len(images.reference)]}, ["<h2>Count</h2>"])


def test_leaves_metrics_and_report(tmp_path):
    metrics = ImageComparison(IMAGES, IMAGES * 2, ["<a>"], tmp_path, [part], {"generated_dir": "<somewhere>"}).run()
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["count"] == {"n": [1, 2]}
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Count</h2>" in page and "&lt;somewhere&gt;" in page


@pytest.mark.parametrize(("generated", "reference", "name"), [(None, IMAGES, "generated"), (IMAGES, None, "reference")])
def test_needs_both_folders(tmp_path, generated, reference, name):
    message = f"comparing needs {name}_dir, got null: set --{name}_dir to a folder of pictures"
    with pytest.raises(ConfigError, match="^" + re.escape(message) + "$"):
        ImageComparison(generated, reference, ["<a>"], tmp_path, [])
