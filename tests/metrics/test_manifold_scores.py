# SPDX-License-Identifier: Apache-2.0
import re

import pytest
import torch

from medti_components.errors import DataError
from medti_components.metrics.manifold_scores import ManifoldScores


def cloud(seed, n=60, shift=0.0, scale=1.0):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)) * scale + shift


def values(scores):
    return {name: score.value for name, score in scores.items()}


def as_defined(generated, real, k):
    """The four definitions, image by image."""
    gap = lambda a, b: float((a.double() - b.double()).norm())  # noqa: E731
    radius = lambda own, i: sorted(gap(own[i], each) for each in own)[k]  # noqa: E731
    real_radii = [radius(real, i) for i in range(len(real))]
    generated_radii = [radius(generated, i) for i in range(len(generated))]
    held = [[gap(x, y) < r for y, r in zip(real, real_radii, strict=True)] for x in generated]
    m, n = len(generated), len(real)
    recalled = [any(gap(x, y) < r for x, r in zip(generated, generated_radii, strict=True)) for y in real]
    return {
        "precision": sum(any(row) for row in held) / m,
        "recall": sum(recalled) / n,
        "density": sum(map(sum, held)) / (k * m),
        "coverage": sum(any(row[j] for row in held) for j in range(n)) / n,
    }


def test_scores_are_those_of_the_definitions():
    x, y = cloud(0, 25, 0.7, 0.8), cloud(1, 20)
    assert values(ManifoldScores(num_neighbours=3)(x, y)) == pytest.approx(as_defined(x, y, 3))


def test_same_images_score_full_and_far_ones_nothing():
    x = cloud(0)
    same, far = ManifoldScores()(x, x), ManifoldScores()(x + 100, x)
    assert (same["precision"].value, same["recall"].value, same["coverage"].value) == (1, 1, 1)
    assert set(values(far).values()) == {0.0}
    assert far["precision"].high > 0 and same["precision"].low < 1  # sixty images do not make it certain


def test_precision_and_recall_change_places():
    x, y = cloud(0, 50, 0.5), cloud(1, 40)
    forth, back = ManifoldScores()(x, y), ManifoldScores()(y, x)
    assert forth["precision"].value == back["recall"].value
    assert forth["recall"].value == back["precision"].value


def test_one_place_repeated_is_precise_and_misses_variety():
    scores = ManifoldScores()(cloud(0, scale=0.05), cloud(1))
    assert scores["precision"].value > 0.95
    assert scores["recall"].value < 0.2
    assert scores["coverage"].value < 0.5
    assert scores["density"].value > 1


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (cloud(0, 11), cloud(1), "generated features must have shape (n, width) with n >= 12 for 5 nearest neighbours"),
        (cloud(0), cloud(1, 11), "real features must have shape (n, width) with n >= 12 for 5 nearest neighbours, got"),
        (cloud(0), cloud(1)[:, :2], "generated and real features must have one width, got 4 and 2: compute both by"),
    ],
)
def test_unfit_features(x, y, message):
    with pytest.raises(DataError, match="^" + re.escape(message)):
        ManifoldScores()(x, y)
