# SPDX-License-Identifier: Apache-2.0
"""A metric that never travels without its interval and the number of images behind it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class IntervalEstimate:
    """A metric with its confidence interval.

    Args:
        value: the point estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        counts: number of images in each group that the metric was computed on, by the group's name.
        method: how the interval was made, in a few words.
        confidence: nominal coverage of the interval, in (0, 1).

    >>> print(IntervalEstimate(0.96, 0.93, 0.98, {"positive": 100, "negative": 100}, "stratified bootstrap"))
    0.960 [0.930, 0.980]
    """

    value: float
    low: float
    high: float
    counts: Mapping[str, int]
    method: str
    confidence: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]" if self._is_small else self._fixed()

    @property
    def _is_small(self) -> bool:
        return max(abs(self.value), abs(self.low), abs(self.high)) < 0.1

    def _fixed(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def as_dict(self) -> dict[str, object]:
        """Return what a JSON file holds of it.

        >>> IntervalEstimate(0.5, 0.4, 0.6, {"real": 9}, "exact").as_dict()["interval"]
        [0.4, 0.6]
        """
        return {
            "value": self.value,
            "interval": [self.low, self.high],
            "confidence": self.confidence,
            "method": self.method,
            "n": dict(self.counts),
        }


def plain_metrics(metrics: Any) -> Any:
    """Return metrics in mappings of any depth as a JSON file holds them.

    >>> plain_metrics({"auc": {"real": IntervalEstimate(0.5, 0.4, 0.6, {"real": 9}, "exact"), "other": None}})["auc"]
    {'real': {'value': 0.5, 'interval': [0.4, 0.6], 'confidence': 0.95, 'method': 'exact', 'n': {'real': 9}},
    'other': None}
    """
    if isinstance(metrics, Mapping):
        return {name: plain_metrics(metric) for name, metric in metrics.items()}
    return metrics.as_dict() if isinstance(metrics, IntervalEstimate) else metrics
