# SPDX-License-Identifier: Apache-2.0
import re

import pytest
import torch
from report_pages import outside_references, page_of
from torch import nn

from medti_components.errors import DataError
from medti_components.evaluation.evaluation import EvaluatedImages
from medti_components.evaluation.image_features import ImageFeatures
from medti_components.evaluation.image_quality import SCORES, ImageQuality
from medti_components.metrics.interval_estimate import IntervalEstimate, plain_metrics
from medti_components.networks.feature_network import FeatureNetwork

HEALTHY, ILL = CONCEPTS = ["<healthy>", "<ill>"]


def pictures(seed, n=14, shift=0.0, size=16):
    stream = torch.Generator().manual_seed(seed)
    return [
        {"image": torch.randn(3, size, size, generator=stream) * 0.3 + shift, "concept": concept}
        for concept in CONCEPTS
        for _ in range(n)
    ]


def quality(generated, held_out, training=None, **settings):
    features = ImageFeatures(
        FeatureNetwork("pooled", nn.Sequential(nn.AvgPool2d(8), nn.Flatten())), show_progress=False
    )
    images = EvaluatedImages(generated, held_out, training, CONCEPTS, "unused")
    return ImageQuality(features, **settings)(images)


def test_every_score_has_its_n_and_interval_beside_real_images_own():
    result = quality(pictures(0), pictures(1), pictures(2, n=20))
    assert result.name == "quality"
    for concept in (*CONCEPTS, "all"):
        n = 28 if concept == "all" else 14
        for kind in ("generated", "real"):
            scores = result.metrics[concept][kind]
            assert set(scores) == set(SCORES)
            assert all(isinstance(score, IntervalEstimate) and score.low <= score.high for score in scores.values())
            assert scores["kid"].counts == {"images": n, "reference": n}  # twenty training images are cut to n
        assert result.metrics[concept]["real"]["fid_as_published"].counts["reference"] == (40 if n == 28 else 20)
    assert plain_metrics(result.metrics)["features"] == "pooled"


def test_odd_images_score_worse_than_real_ones():
    figures = quality(pictures(0, shift=0.5), pictures(1), pictures(2)).metrics["all"]
    assert figures["generated"]["fid"].low > figures["real"]["fid"].high
    assert figures["generated"]["kid"].low > 0 >= figures["real"]["kid"].low
    assert figures["generated"]["precision"].high < figures["real"]["precision"].value


def test_halves_of_the_reference_stand_in_for_training_images():
    figures = quality(pictures(0), pictures(1, n=24)).metrics[ILL]
    assert figures["real"]["kid"].counts == {"images": 12, "reference": 12}
    assert "fid_as_published" not in figures["generated"]
    assert "precision" not in quality(pictures(0), pictures(1)).metrics[ILL]["real"]  # halves of 14 are too few


def test_another_reference_is_taken_and_need_not_know_concepts():
    other = [{**item, "concept": ""} for item in pictures(3, n=20)]
    figures = quality(pictures(0), pictures(1), reference=other).metrics
    assert HEALTHY not in figures
    assert figures["all"]["generated"]["kid"].counts == {"images": 28, "reference": 40}


def test_section_says_what_each_score_means_and_needs_nothing_else():
    page = page_of(quality(pictures(0), pictures(1), pictures(2)).sections)
    for heading, meaning in SCORES.values():
        assert page.count(f">{heading}<") == 3
        assert meaning.split("'")[0] in page
    assert set(re.findall(r'src="([^"]{0,22})', page)) == {"data:image/png;base64,"}
    assert outside_references(page) == []
    assert "&lt;ill&gt;" in page and "<ill>" not in page


def test_figures_that_need_more_images_are_left_out():
    figures = quality(pictures(0, n=5), pictures(1, n=5)).metrics
    assert set(figures[ILL]["generated"]) == {"fid", "kid", "similarity"}
    assert "real" not in figures[ILL]
    figures = quality(pictures(0, n=3), pictures(1, n=3)).metrics
    assert set(figures) == {"features", "features_sha256", "all"}


def test_too_few_images():
    message = "quality needs 4 or more {} images, got {}: give more, or take '@quality' out of parts"
    with pytest.raises(DataError, match="^" + re.escape(message.format("generated", 2)) + "$"):
        quality(pictures(0, n=1), pictures(1))
    with pytest.raises(DataError, match="^" + re.escape(message.format("real", 0)) + "$"):
        quality(pictures(0), [])


def test_sizes_differ():
    message = "generated and real images must have one size, got 16x16 pixels and 24x24 pixels: set --image_size"
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        quality(pictures(0), pictures(1, size=24))
