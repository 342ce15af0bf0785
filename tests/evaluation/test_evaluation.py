# SPDX-License-Identifier: Apache-2.0
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from medti_components.errors import ConfigError, DataError
from medti_components.evaluation.evaluation import (
    EvaluatedImages,
    Evaluation,
    EvaluationPart,
    PartResult,
)
from medti_components.evaluation.verdict import VerdictCheck, on_quality, on_sharing
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.visualize.report import Section

IMAGES = [{"image": torch.zeros(3, 8, 8), "concept": "<ill>"}]


class Counting(EvaluationPart):
    """Counts the images; it has checks, and a name or keys of its own."""

    def __init__(self, name: str | None, checks: Sequence[VerdictCheck] = (), needs_generated: bool = True) -> None:
        self.name = name
        self.checks = checks
        self.needs_generated = needs_generated  # type: ignore[misc]

    def check(self, images: EvaluatedImages) -> None:
        if len(images.reference) > 9:
            raise DataError(f"{self.name} takes nine images")

    def __call__(self, images: EvaluatedImages) -> PartResult:
        numbers = [len(each or []) for each in (images.generated, images.reference, images.training)]
        share = IntervalEstimate(1.0, 0.5, 1.5, {"images": numbers[0]}, "exact")
        metrics = {f"{self.name} numbers": numbers, "<ill>": {"share": share}}
        return PartResult(
            self.name, metrics, [Section(str(self.name), ["<b>"])], [f"{self.name} is said."], self.checks
        )


class Failing(EvaluationPart):
    def __call__(self, images: EvaluatedImages) -> PartResult:
        raise DataError("copies need more images")


def evaluation(output_dir: Path, *parts: EvaluationPart, generated: Any = IMAGES * 2, **others: Any) -> Evaluation:
    return Evaluation(EvaluatedImages(generated, IMAGES * 3, IMAGES * 5, ["<ill>"], output_dir), parts, **others)


def headings(output_dir: Path) -> list[str]:
    return re.findall("<h2>([^<]*)</h2>", (output_dir / "report.html").read_text())


def test_parts_add_their_metrics_and_sections(tmp_path):
    metrics = evaluation(tmp_path, Counting("first"), Counting("second"), settings={"dir": "<here>"}).run()
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["first"]["first numbers"] == [2, 3, 5]
    assert metrics["second"]["<ill>"]["share"]["interval"] == [0.5, 1.5]
    assert list(metrics) == ["settings", "versions", "first", "second"]
    assert headings(tmp_path) == ["In short", "first", "second", "Settings"]
    page = (tmp_path / "report.html").read_text()
    assert "<p>&lt;b&gt;</p>" in page and "&lt;here&gt;" in page
    assert page.index("first is said.") < page.index("second is said.")


def test_metrics_of_a_part_without_a_name_come_first(tmp_path):
    metrics = evaluation(tmp_path, Counting("named"), Counting(None)).run()
    assert list(metrics) == ["None numbers", "<ill>", "settings", "versions", "named"]


def test_what_was_measured_is_kept_when_a_part_fails(tmp_path):
    with pytest.raises(DataError, match="^copies need more images$"):
        evaluation(tmp_path, Counting("first"), Failing(), Counting("third")).run()
    assert list(json.loads((tmp_path / "metrics.json").read_text())) == ["settings", "versions", "first"]
    assert headings(tmp_path) == ["In short", "first", "Settings"]


def test_verdicts_on_the_parts_come_last(tmp_path, caplog):
    checks = [VerdictCheck("copies", False, "3 of 16 are copies")]
    with caplog.at_level(logging.INFO):
        metrics = evaluation(tmp_path, Counting("copies", checks), verdicts=[on_sharing(), on_quality()]).run()
    assert metrics["verdict"]["statement"] == "not safe: 3 of 16 are copies"
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert list(metrics)[-2:] == ["verdict", "quality_verdict"]
    assert caplog.messages[-2:] == [
        "Verdict on sharing: not safe: 3 of 16 are copies",
        "Verdict on quality: not shown: quality not tested",
    ]
    page = (tmp_path / "report.html").read_text()
    assert '<p class="verdict bad">Verdict on sharing: not safe: 3 of 16 are copies</p>' in page
    assert '<p class="verdict open">Verdict on quality: not shown: quality not tested</p>' in page


@pytest.mark.parametrize("name", ["first", "settings"])
def test_parts_have_names_of_their_own(tmp_path, name):
    message = f"parts must have a name each, got '{name}' twice: take one out of parts"
    with pytest.raises(ConfigError, match="^" + re.escape(message) + "$"):
        evaluation(tmp_path, Counting("first"), Counting(name)).run()


def test_every_part_is_asked_before_anything_long(tmp_path):
    evaluation(tmp_path, Counting("first")).check()
    images = EvaluatedImages(IMAGES, IMAGES * 10, None, ["<ill>"], tmp_path)
    with pytest.raises(DataError, match="^second takes nine images$"):
        Evaluation(images, [Failing(), Counting("second")]).check()


def test_without_generated_images_only_parts_that_need_none_are_run(tmp_path):
    parts = [Counting("some", needs_generated=False), Counting("others")]
    metrics = evaluation(tmp_path, *parts, generated=None).run()
    assert metrics["some"]["some numbers"] == [0, 3, 5] and "others" not in metrics
