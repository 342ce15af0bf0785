# SPDX-License-Identifier: Apache-2.0
"""Metrics of reader studies: against scipy and scikit-learn, by hand, and where they are undetermined."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from medti_components.apps.reader_study_server.reader_metrics import ReaderMetrics, cohen_kappa, fleiss_kappa
from medti_components.apps.reader_study_server.reader_report import render_report, report_lines
from medti_components.apps.reader_study_server.study import ReaderAnswer
from medti_components.errors import DataError
from medti_components.metrics.bootstrap_interval import bootstrap_interval
from medti_components.metrics.exact_share import exact_share
from medti_components.metrics.interval_estimate import plain_metrics

SINGLE = [("real",)] * 4 + [("synthetic",)] * 4
PAIRS = [("real", "synthetic")] * 4


def single(chosen, ratings=None):
    """Answers to the first items, "r" or "s" each."""
    words = {"r": "real", "s": "synthetic"}
    ratings = ratings or [3] * len(chosen)
    return [ReaderAnswer(n, SINGLE[n], words[c], ratings[n], float(n)) for n, c in enumerate(chosen)]


def pairs(chosen):
    """Answers to the first pairs: "r" or "s" preferred, sides in turn."""
    answers = []
    for number, letter in enumerate(chosen):
        shown = ("real", "synthetic") if number % 2 else ("synthetic", "real")
        side = ("left", "right")[[kind[0] for kind in shown].index(letter)]
        answers.append(ReaderAnswer(number, shown, side))
    return answers


@pytest.mark.parametrize(("count", "total"), [(0, 7), (3, 7), (7, 7), (50, 100)])
def test_exact_shares_are_those_of_scipy(count, total):
    interval = binomtest(count, total).proportion_ci(0.95, method="exact")
    found = exact_share(count / total, total)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_exact_shares_cover_the_truth():
    rng = np.random.default_rng(0)
    counts = rng.binomial(40, 0.6, size=400)
    covered = np.mean([exact_share(count / 40, 40).low <= 0.6 <= exact_share(count / 40, 40).high for count in counts])
    assert covered >= 0.93


def test_a_share_of_nothing_is_refused():
    with pytest.raises(DataError, match=r"^a share must be of at least one, got 0: give more answers$"):
        exact_share(0.0, 0)


@pytest.mark.parametrize("weights", [None, "quadratic"])
def test_cohens_kappa_is_that_of_scikit_learn(weights):
    first, second = np.random.default_rng(0).integers(5, size=(2, 50))
    expected = cohen_kappa_score(first, second, labels=range(5), weights=weights)
    assert cohen_kappa(first, second, 5, is_ordered=weights is not None) == pytest.approx(expected)


def test_fleiss_kappa_is_that_of_the_paper_of_1971():
    """The worked example of 10 subjects, 14 raters and 5 categories on Wikipedia: 0.210."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    answers = np.array([np.repeat(np.arange(5), row) for row in counts])
    assert fleiss_kappa(answers, 5) == pytest.approx(0.210, abs=5e-4)


def test_agreement_of_readers_who_only_say_one_thing_is_undetermined():
    same = np.zeros(5, dtype=np.int64)
    assert np.isnan(cohen_kappa(same, same, 2))
    assert np.isnan(fleiss_kappa(np.stack([same] * 3, axis=1), 2))
    metrics = ReaderMetrics(SINGLE, {"a": single("rrrrrrrr"), "b": single("rrrrrrrr")}).metrics()
    assert metrics["agreement"]["two_readers"]["a, b"]["kappa"] is None
    assert "agreement of a, b: Cohen's kappa undetermined" in [*report_lines(metrics)]


def test_bootstrap_intervals_of_a_mean_are_about_its_standard_error():
    values = np.random.default_rng(0).normal(size=400)
    found = bootstrap_interval(np.mean, values, counts={"images": 400})
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)


def test_figures_of_single_images_are_those_counted_by_hand():
    answers = single("rrrsrsss", [5, 5, 4, 2, 4, 2, 1, 1])
    found = ReaderMetrics(SINGLE, {"anna": answers}).metrics()["readers"]["anna"]
    assert (found["accuracy"].value, found["sensitivity"].value, found["specificity"].value) == (0.75, 0.75, 0.75)
    assert found["p_value"] == pytest.approx(binomtest(6, 8).pvalue)
    assert found["sensitivity"].counts == {"synthetic images": 4}
    means = {name: figure.value for name, figure in found["ratings"].items()}
    assert means == {"real": 4, "synthetic": 2, "difference": -2}
    assert found["median_seconds"] == 3.5


def test_a_preference_is_the_share_of_pairs_whose_synthetic_image_was_preferred():
    metrics = ReaderMetrics(PAIRS, {"anna": pairs("sssr"), "berta": pairs("rs")}).metrics()
    assert metrics["readers"]["anna"]["preference"].value == 0.75
    assert metrics["readers"]["berta"]["is_complete"] is False
    assert metrics["all_readers"]["preference"].value == np.mean([0.5, 1, 1, 0])
    assert metrics["agreement"]["two_readers"]["anna, berta"]["kappa"].counts == {"pairs": 2}
    assert metrics["items"][0] == {"num_answers": 2, "num_synthetic": 1}


def test_many_readers_of_few_images_do_not_narrow_the_interval():
    one = ReaderMetrics(SINGLE, {"a": single("rrrrssrr")}).metrics()["all_readers"]["accuracy"]
    three = ReaderMetrics(SINGLE, {name: single("rrrrssrr") for name in "abc"}).metrics()["all_readers"]["accuracy"]
    assert (one.value, one.low, one.high) == (three.value, three.low, three.high)


def test_three_readers_have_a_kappa_of_all():
    metrics = ReaderMetrics(SINGLE, {name: single("rrrrssss") for name in "abc"}).metrics()
    assert metrics["agreement"]["fleiss_kappa"].value == 1
    assert [*metrics["agreement"]["two_readers"]] == ["a, b", "a, c", "b, c"]
    assert [*report_lines(metrics)][-1] == "agreement of all: Fleiss' kappa 1.000 [1.000, 1.000]"


def test_readers_without_a_common_image_have_no_agreement():
    answers = {"a": single("rr")[:1], "b": single("rr")[1:]}
    metrics = ReaderMetrics(SINGLE, answers).metrics()
    assert metrics["agreement"]["two_readers"]["a, b"] == {"kappa": None, "rating_weighted_kappa": None}
    assert metrics["readers"]["a"]["sensitivity"] is None
    assert metrics["readers"]["a"]["ratings"]["synthetic"] is None
    assert "undetermined" in render_report(metrics, {})


def test_the_first_answer_to_a_question_counts():
    answers = [*single("r"), ReaderAnswer(0, SINGLE[0], "synthetic", 1)]
    found = ReaderMetrics(SINGLE, {"a": answers}).metrics()["readers"]["a"]
    assert (found["num_answers"], found["accuracy"].value) == (1, 1)


@pytest.mark.parametrize("answer", [ReaderAnswer(8, ("real",), "real", 3), ReaderAnswer(0, ("synthetic",), "real", 3)])
def test_an_answer_to_another_study_is_refused(answer):
    with pytest.raises(DataError, match=r"^an answer of reader 'a' is to another study: remove a.jsonl$"):
        ReaderMetrics(SINGLE, {"a": [answer]})


def test_the_page_holds_every_figure_and_escapes_names():
    metrics = ReaderMetrics(SINGLE, {"<b>": single("rrrrssss"), "c": single("rrrrsssr")}).metrics()
    page = render_report(metrics, {"seed": 0})
    for figure in (*plain_readers(metrics), metrics["all_readers"]["accuracy"]):
        assert f"<td>{figure.value:.3f}</td><td>{figure.low:.3f} to {figure.high:.3f}</td>" in page
    assert "<b>" not in page
    assert plain_metrics(metrics)["readers"]["c"]["accuracy"]["n"] == {"images": 8}


def plain_readers(metrics):
    return [found[name] for found in metrics["readers"].values() for name in ("accuracy", "sensitivity")]
