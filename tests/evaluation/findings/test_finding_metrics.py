# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from medti_components.errors import DataError
from medti_components.evaluation.findings.finding_metrics import (
    FindingScores,
    detection,
    nothing_seen,
    painted,
    score_findings,
    separation,
    trends,
)
from medti_components.evaluation.findings.judged_images import InterpolatedRows
from medti_components.metrics.prompt_fidelity import DetectionRate, InterpolationTrend
from medti_components.metrics.roc_auc import RocAuc

NAMES = ["a", "b"]


def scores(*images):
    """Scores of images, each the log-odds of both findings and the letters of what it should show."""
    log_odds = torch.tensor([image[:2] for image in images], dtype=torch.float32)
    return FindingScores(log_odds, torch.tensor([[name in image[2] for name in NAMES] for image in images]))


def test_a_finding_alone_is_held_against_none():
    # of a: 2 and 0 against 1 and -1: three of four pairs in order; the image of both counts for neither
    found = separation(
        scores((2, 0, "a"), (0, 0, "a"), (1, 0, ""), (-1, 3, ""), (9, 9, "ab"), (0, 4, "b")), NAMES, RocAuc()
    )
    assert found["a"].value == 0.75 and found["a"].counts == {"positive": 2, "negative": 2}
    assert found["b"].value == 1.0 and found["b"].counts == {"positive": 1, "negative": 2}


def test_without_images_of_a_finding_there_is_no_figure():
    with pytest.raises(DataError, match=r"positive scores must have shape \(n,\) with n >= 1"):
        separation(scores((1, 1, "a"), (0, 0, "")), NAMES, RocAuc())


def test_every_finding_asked_for_must_be_seen_and_others_may():
    found = detection(
        scores((1, -1, "a"), (1, 1, "a"), (-1, 1, "b"), (1, 1, "ab"), (1, -1, "ab"), (1, 1, "")), NAMES, DetectionRate()
    )
    assert list(found) == ["a", "b", "a + b", "1 finding", "2 findings"]
    assert [figure.value for figure in found.values()] == [1, 1, 0.5, 1, 0.5]
    assert [figure.counts["images"] for figure in found.values()] == [2, 1, 2, 3, 2]


def test_images_without_a_finding_should_show_none():
    figure = nothing_seen(scores((-1, -1, ""), (-1, 1, ""), (5, 5, "a")), DetectionRate())
    assert figure is not None and figure.value == 0.5 and figure.counts == {"images": 2}
    assert nothing_seen(scores((5, 5, "a")), DetectionRate()) is None


def rows(finding, weights, first=0):
    return InterpolatedRows(f"to {finding}", finding, torch.tensor(weights), torch.arange(first, first + 3)[None])


def test_trends_follow_the_finding_of_each_interpolation():
    seen = scores((0, 9, ""), (1, 5, ""), (2, 1, ""), (0, 1, ""), (0, 2, ""), (0, 3, ""))
    found = trends(seen, [rows(0, [0.0, 0.5, 1.0]), rows(1, [0.0, 0.5, 1.0])], InterpolationTrend())
    assert found["to 0"].value == 1 and found["to 1"].value == -1  # both look at the first three images
    assert found["all"].value == 0 and found["all"].counts == {"rows": 2}


def test_rows_of_different_weights_have_no_common_trend():
    found = trends(
        scores(*[(1, 2, "")] * 6), [rows(0, [0.0, 0.5, 1.0]), rows(1, [0.0, 0.2, 1.0], 3)], InterpolationTrend()
    )
    assert found["all"] is None and found["to 1"] is not None


def test_what_was_painted_is_counted_by_what_was_asked_for():
    before = scores((-1, -1, "a"), (-1, 1, "a"), (1, -1, "a"), (1, -1, "ab"))
    after = scores((1, -1, "a"), (-1, 1, "a"), (1, -1, "a"), (1, 1, "ab"))
    found = painted(before, after, torch.tensor([0.0, 0.0, 2.0, 0.0]), NAMES, DetectionRate())
    assert list(found) == ["a", "a + b", "all"]
    assert found["a"].seen_inside.value == 0.5 and found["a"].num_seen_before == 1  # the third showed a before
    assert found["a + b"].seen_inside.value == 1 and found["a + b"].num_seen_before == 0  # only a was seen, not both
    assert found["a"].largest_change_outside == found["all"].largest_change_outside == 2
    assert found["a + b"].unchanged_outside.value == 1 and found["all"].unchanged_outside.value == 0.75


def test_scores_are_the_network_s_in_evaluation_mode_and_in_order():
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.9))
    images = [
        {"image": torch.tensor([[[float(number), -1.0]]]), "label": torch.tensor([0.0, 1.0]), "file": str(number)}
        for number in range(5)
    ]
    network.train()
    seen = score_findings(network, images, batch_size=2)
    assert seen.log_odds.tolist() == [[float(number), -1.0] for number in range(5)]
    assert seen.labels.dtype == torch.bool and seen.labels[:, 1].all() and not seen.labels[:, 0].any()
    assert network.training
