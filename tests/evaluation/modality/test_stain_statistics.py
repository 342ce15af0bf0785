# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
import torch
from report_pages import page_of
from scipy.stats import wasserstein_distance

from medti_components.data.phantoms.histology_phantom import EOSIN, HEMATOXYLIN, histology_phantom
from medti_components.errors import DataError
from medti_components.evaluation.evaluation import EvaluatedImages
from medti_components.evaluation.modality.stain_statistics import (
    STATISTICS,
    StainStatistics,
    cohens_d,
    stain_amounts,
    stain_table,
    wasserstein,
)

NORMAL, TUMOR = TOKENS = ["<normal>", "<tumor>"]


def stained(hematoxylin, eosin, size=4):
    """An image of one colour, (3, size, size): so much of each stain, in optical density."""
    units = [np.array(unit) / np.linalg.norm(unit) for unit in (HEMATOXYLIN, EOSIN)]
    density = hematoxylin * units[0] + eosin * units[1]
    return torch.tensor(2 * 10**-density - 1, dtype=torch.float32)[:, None, None].expand(3, size, size)


def sections(seed, eosin=0.2, n=12):
    stream = np.random.default_rng(seed)
    return [
        {"image": stained(stream.normal(mean, 0.02), stream.normal(eosin, 0.02)), "concept": concept}
        for concept, mean in ((NORMAL, 0.1), (TUMOR, 0.3))
        for _ in range(n)
    ]


def measured(generated, reference, training, tmp_path):
    return StainStatistics(num_resamples=200)(EvaluatedImages(generated, reference, training, TOKENS, tmp_path))


def test_amounts_are_those_that_were_mixed():
    amounts = stain_amounts(torch.stack([stained(0.3, 0.1), stained(0.0, 0.5)])).mean(dim=(2, 3))
    torch.testing.assert_close(
        amounts, torch.tensor([[0.3, 0.1, 0], [0, 0.5, 0]], dtype=torch.double), atol=1e-6, rtol=0
    )


def test_a_tumor_holds_more_hematoxylin():
    patches = [
        torch.from_numpy(histology_phantom(0, "train", kind, index).image / 127.5 - 1).permute(2, 0, 1)
        for kind in ("normal", "tumor")
        for index in (0, 8, 16, 24)
    ]
    hematoxylin = stain_table(torch.stack(patches))[:, 0]
    assert hematoxylin[4:].mean() > 1.5 * hematoxylin[:4].mean()


def test_figures_of_resamples_are_those_of_scipy():
    stream = np.random.default_rng(0)
    first, second = stream.normal(size=9), stream.normal(1, 2, size=7)
    weights = stream.integers(1, 4, size=(3, 9)), stream.integers(1, 4, size=(3, 7))
    expected = [wasserstein_distance(first, second, *own) for own in zip(*weights, strict=True)]
    np.testing.assert_allclose(wasserstein(first, second, *weights), expected)
    repeated = [np.repeat(values, own[0]) for values, own in zip((first, second), weights, strict=True)]
    (a, b), (n, m) = repeated, map(len, repeated)
    pooled = np.sqrt(((n - 1) * a.var(ddof=1) + (m - 1) * b.var(ddof=1)) / (n + m - 2))
    assert cohens_d(first, second, *weights)[0] == pytest.approx((a.mean() - b.mean()) / pooled)


def test_more_eosin_is_found_and_named(tmp_path):
    result = measured(sections(0, eosin=0.3), sections(1), sections(2), tmp_path)
    assert result.name == "modality" and set(result.metrics) == {NORMAL, TUMOR}
    for own in result.metrics.values():
        eosin = own["eosin, mean"]
        # 0.1 more, by a spread of about 0.02
        assert 2.5 < eosin["generated"]["standardised_difference"].low < 10
        assert eosin["generated"]["distance"].value == pytest.approx(0.1, rel=0.2)
        assert eosin["generated"]["distance"].low > eosin["more real"]["distance"].high
        alike = own["hematoxylin, mean"]["generated"]["standardised_difference"]
        assert alike.low < 0.5 and alike.high > -0.5
        assert eosin["generated"]["distance"].counts == {"generated": 12, "real": 12}
    assert "clearly" in result.summary[0] and "eosin, mean" in result.summary[0]
    page = page_of(result.sections)
    assert all(statistic in page for statistic in STATISTICS)
    assert "<h3>&lt;tumor&gt;</h3>" in page and "n: 12 generated, 12 real. Intervals: 95%" in page
    assert str(result.metrics[TUMOR]["eosin, mean"]["generated"]["distance"]) in page


def test_what_words_were_learned_from_may_be_missing(tmp_path):
    figures = measured(sections(0), sections(1), None, tmp_path).metrics
    assert set(figures[NORMAL]["eosin, mean"]) == {"mean", "generated"}


def test_a_single_image_leaves_the_standardised_difference_open(tmp_path):
    result = measured(sections(0, n=1), sections(1, n=1), None, tmp_path)
    assert result.metrics[TUMOR]["eosin, mean"]["generated"]["standardised_difference"] is None
    assert result.summary == [] and "undetermined" in page_of(result.sections)


def test_patients_are_drawn_with_all_their_images(tmp_path):
    real = [
        {"image": stained(0.1, 0.2 + 0.05 * (index // 6)), "concept": concept}
        for concept in TOKENS
        for index in range(12)
    ]
    by_patient = [{**item, "patient_id": index // 6} for index, item in enumerate(real)]
    widths = []
    for reference in (real, by_patient):
        distance = measured(sections(0), reference, None, tmp_path).metrics[NORMAL]["eosin, mean"]["generated"][
            "distance"
        ]
        widths.append(distance.high - distance.low)
    # of two patients who are alike in themselves, one draw of four takes only the first: the mean moves by 0.025
    assert widths[1] > 1.3 * widths[0]


def test_every_concept_needs_images(tmp_path):
    message = "generated images of <tumor> must be at least one and of one size, got none: add some"
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        measured(sections(0)[:12], sections(1), None, tmp_path)
    message = "real images of <tumor> must be at least one and of one size, got sizes (3, 4, 4) and (3, 8, 8): add some"
    larger = {"image": stained(0, 0, size=8), "concept": TUMOR}
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        measured(sections(0), [*sections(1), larger], None, tmp_path)
