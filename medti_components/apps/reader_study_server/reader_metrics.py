# SPDX-License-Identifier: Apache-2.0
"""What the answers of a blinded reader study say: whether synthetic images are told from real ones, and agreement."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from medti_components.apps.reader_study_server.study import KINDS, RATINGS, ReaderAnswer
from medti_components.errors import DataError
from medti_components.metrics.bootstrap_interval import bootstrap_interval
from medti_components.metrics.exact_share import exact_share
from medti_components.metrics.interval_estimate import IntervalEstimate

POOLED = "Clopper-Pearson, n = images, as Korn-Graubard"

Answers = Mapping[int, ReaderAnswer]
Metrics = dict[str, Any]


class ReaderMetrics:
    """Metrics of a reader study, each with n and interval.

    Of single images: accuracy; sensitivity, the share of synthetic images called synthetic; specificity, the share of
    real images called real; mean ratings. Of pairs: preference, the share of pairs in which the synthetic image was
    called the more realistic. A reader's p is that of an exact two-sided binomial test against 1/2, which is chance
    where the reader saw as many real as synthetic images. Readers see the same images, so that their answers are not
    independent: the metrics of all readers together have intervals as wide as if each image had been answered once.

    Args:
        items: the truth of each question, ``("real",)``, ``("synthetic",)`` or ``("real", "synthetic")``.
        answers: each reader's, by name; of several to one question the first counts.
        seed: of the bootstrap.

    Raises:
        DataError: an answer is to another study's question.
    """

    def __init__(
        self, items: Sequence[tuple[str, ...]], answers: Mapping[str, Sequence[ReaderAnswer]], seed: int = 0
    ) -> None:
        self.items = list(items)
        self.seed = seed
        self.is_pairs = len(self.items[0]) == 2
        self.answers: dict[str, Answers] = {}
        for reader, given in answers.items():
            for answer in given:
                if answer.item >= len(self.items) or sorted(answer.shown) != sorted(self.items[answer.item]):
                    raise DataError(f"an answer of reader '{reader}' is to another study: remove {reader}.jsonl")
            self.answers[reader] = {answer.item: answer for answer in reversed(given)}

    def metrics(self) -> Metrics:
        """Return the metrics: ``readers`` by name, ``all_readers``, ``agreement``, and ``items``."""
        return {
            "num_items": len(self.items),
            "readers": {reader: self._of_reader(answers) for reader, answers in self.answers.items()},
            "all_readers": self._of_all(),
            "agreement": self._agreement(),
            "items": [self._of_item(item) for item in range(len(self.items))],
        }

    def _of_reader(self, answers: Answers) -> Metrics:
        outcomes = {item: self._outcome(answer) for item, answer in answers.items()}
        metrics: Metrics = {"num_answers": len(answers), "is_complete": len(answers) == len(self.items)}
        for name, kind in self._shares().items():
            chosen = [outcome for item, outcome in outcomes.items() if kind in (None, *self.items[item])]
            metrics[name] = exact_share(float(np.mean(chosen)), len(chosen), self._unit(kind)) if chosen else None
        metrics["p_value"] = float(binomtest(int(sum(outcomes.values())), len(outcomes)).pvalue)
        metrics["ratings"] = self._ratings({item: float(answer.rating or 0) for item, answer in answers.items()})
        seconds = [answer.seconds for answer in answers.values() if answer.seconds is not None]
        metrics["median_seconds"] = median(seconds) if seconds else None
        return metrics

    def _of_all(self) -> Metrics:
        by_item = self._by_item()
        outcomes = {item: np.mean([self._outcome(answer) for answer in given]) for item, given in by_item.items()}
        metrics: Metrics = {"num_readers": len(self.answers), "num_answers": sum(map(len, self.answers.values()))}
        for name, kind in self._shares().items():
            chosen = [outcome for item, outcome in outcomes.items() if kind in (None, *self.items[item])]
            metrics[name] = (
                exact_share(float(np.mean(chosen)), len(chosen), self._unit(kind), POOLED) if chosen else None
            )
        means = {item: float(np.mean([answer.rating or 0 for answer in given])) for item, given in by_item.items()}
        metrics["ratings"] = self._ratings(means)
        return metrics

    def _by_item(self) -> dict[int, list[ReaderAnswer]]:
        found: dict[int, list[ReaderAnswer]] = {}
        for answers in self.answers.values():
            for item, answer in answers.items():
                found.setdefault(item, []).append(answer)
        return found

    def _shares(self) -> dict[str, str | None]:
        """Names of the shares, and of which images they are; None for all."""
        if self.is_pairs:
            return {"preference": None}
        return {"accuracy": None, "sensitivity": "synthetic", "specificity": "real"}

    def _unit(self, kind: str | None) -> str:
        return "pairs" if self.is_pairs else f"{kind} images" if kind else "images"

    def _outcome(self, answer: ReaderAnswer) -> bool:
        """Whether the synthetic image was preferred, or the origin of a single one named rightly."""
        return answer.chosen == ("synthetic" if self.is_pairs else answer.shown[0])

    def _ratings(self, ratings: Mapping[int, float]) -> dict[str, IntervalEstimate | None] | None:
        """Mean rating of real and of synthetic images, and the second less the first."""
        if self.is_pairs:
            return None
        values = np.array([*ratings.values()])
        is_synthetic = np.array([self.items[item] == ("synthetic",) for item in ratings])
        counts = {kind: int((is_synthetic == (kind == "synthetic")).sum()) for kind in KINDS}
        metrics = {}
        for kind in KINDS:
            of_kind = values[is_synthetic == (kind == "synthetic")]
            metrics[kind] = bootstrap_interval(_mean, of_kind, counts={kind: counts[kind]}, seed=self.seed)
        metrics["difference"] = bootstrap_interval(_difference, values, is_synthetic, counts=counts, seed=self.seed)
        return metrics

    def _agreement(self) -> Metrics:
        """Kappas of each two readers and of all, on the images that all of them answered."""
        pairs = {
            f"{first}, {second}": {
                name: self._kappa([first, second], ratings=name == "rating_weighted_kappa")
                for name in ("kappa", *(() if self.is_pairs else ("rating_weighted_kappa",)))
            }
            for first, second in combinations(self.answers, 2)
        }
        several = self._kappa([*self.answers]) if len(self.answers) > 2 else None
        return {"two_readers": pairs, "fleiss_kappa": several}

    def _kappa(self, readers: Sequence[str], ratings: bool = False) -> IntervalEstimate | None:
        shared = sorted(set.intersection(*(set(self.answers[reader]) for reader in readers)))
        if not shared:
            return None
        given = [[self.answers[reader][item] for reader in readers] for item in shared]
        names: Sequence[Any] = RATINGS if ratings else KINDS
        table = np.array([[names.index(one.rating if ratings else one.chosen) for one in row] for row in given])

        def kappa(rows: NDArray[np.int64]) -> float:
            if len(readers) > 2:
                return fleiss_kappa(rows, len(names))
            return cohen_kappa(rows[:, 0], rows[:, 1], len(names), is_ordered=ratings)

        return bootstrap_interval(kappa, table, counts={self._unit(None): len(shared)}, seed=self.seed)

    def _of_item(self, item: int) -> Metrics:
        given = [answers[item] for answers in self.answers.values() if item in answers]
        chosen = sum(answer.chosen == "synthetic" for answer in given)
        metrics: Metrics = {"num_answers": len(given), "num_synthetic": chosen}
        if not self.is_pairs:
            metrics["mean_rating"] = float(np.mean([answer.rating for answer in given])) if given else None
        return metrics


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _difference(values: NDArray[np.float64], is_synthetic: NDArray[np.bool_]) -> float:
    return _mean(values[is_synthetic]) - _mean(values[~is_synthetic])


Categories = NDArray[np.int64]


def cohen_kappa(first: Categories, second: Categories, num_categories: int, is_ordered: bool = False) -> float:
    """Return Cohen's kappa of two readers: 1 - observed / expected disagreement.

    It is nan where both only ever say one thing. The same as scikit-learn's ``cohen_kappa_score``, but fast enough to
    be resampled.

    Args:
        first: categories of one reader, (images,), 0 to ``num_categories`` - 1.
        second: those of the other on the same images.
        num_categories: how many there are.
        is_ordered: disagreements count by the square of their distance (Cohen 1968), else all alike (Cohen 1960).

    >>> cohen_kappa(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), 2)
    0.5
    """
    joint = np.bincount(first * num_categories + second, minlength=num_categories**2) / max(len(first), 1)
    joint = joint.reshape(num_categories, num_categories)
    distance = np.subtract.outer(np.arange(num_categories), np.arange(num_categories)).astype(float) ** 2
    cost = distance if is_ordered else distance > 0
    expected = (np.outer(joint.sum(axis=1), joint.sum(axis=0)) * cost).sum()
    return float(1 - (joint * cost).sum() / expected) if expected > 0 else float("nan")


def fleiss_kappa(answers: Categories, num_categories: int) -> float:
    """Return Fleiss' kappa (Psychological Bulletin 1971) of several readers; nan where all only ever say one thing.

    Args:
        answers: (images, readers) of categories, 0 to ``num_categories`` - 1; every reader answered every image.
        num_categories: how many there are.

    >>> fleiss_kappa(np.array([[0, 0, 0], [1, 1, 1]]), 2)
    1.0
    """
    num_readers = answers.shape[1]
    counts = (answers[..., None] == np.arange(num_categories)).sum(axis=1)
    observed = ((counts**2).sum(axis=1) - num_readers).mean() / (num_readers * (num_readers - 1))
    expected = ((counts.sum(axis=0) / counts.sum()) ** 2).sum()
    return float((observed - expected) / (1 - expected)) if expected < 1 else float("nan")
