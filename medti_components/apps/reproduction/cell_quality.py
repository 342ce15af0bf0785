# SPDX-License-Identifier: Apache-2.0
"""How good the images of a cell are: the figures of its ``metrics.json``, over all words."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medti_components.apps.reproduction.combined_estimate import mean_estimate
from medti_components.metrics.interval_estimate import IntervalEstimate

KERNEL, FRECHET, PUBLISHED = "kid", "fid", "fid_as_published"


@dataclass(frozen=True)
class CellQuality:
    """Figures of generated beside real images, None where an evaluation has none; all but the AUC are means over words.

    Args:
        fid: Frechet distance to the training images as the paper takes it or, without that, to held-out real images.
        kid: kernel distance to held-out real images, on the same features.
        floor: kernel distance of other real images to the held-out ones.
        auc: of a classifier of real images on the generated ones.
        features: what the features are of.
    """

    fid: IntervalEstimate | None
    kid: IntervalEstimate | None
    floor: IntervalEstimate | None
    auc: IntervalEstimate | None
    features: str

    @classmethod
    def read(cls, path: Path, concepts: Sequence[str]) -> "CellQuality":
        """Read ``metrics.json``: its part "quality" or, without that, the distances on the classifier's features."""
        document = json.loads(path.read_text(encoding="utf-8"))
        auc = estimate_of(document["auc"].get("generated"))
        if "quality" not in document:
            kid, floor = (
                _mean([document["kid"].get(concept, {}).get(name) for concept in concepts])
                for name in ("generated", "more real")
            )
            return cls(None, kid, floor, auc, document["features"])
        quality = document["quality"]
        fid = _quality(quality, concepts, "generated", PUBLISHED) or _quality(quality, concepts, "generated", FRECHET)
        kid, floor = (_quality(quality, concepts, kind, KERNEL) for kind in ("generated", "real"))
        return cls(fid, kid, floor, auc, quality["features"])


def estimate_of(figure: Mapping[str, Any] | None) -> IntervalEstimate | None:
    """Return a figure of ``metrics.json``.

    >>> figure = {"value": 0.5, "interval": [0.4, 0.6], "confidence": 0.95, "method": "exact", "n": {"images": 9}}
    >>> print(estimate_of(figure), estimate_of(None))
    0.500 [0.400, 0.600] None
    """
    if figure is None:
        return None
    low, high = figure["interval"]
    return IntervalEstimate(figure["value"], low, high, figure["n"], figure["method"], figure["confidence"])


def _quality(quality: Mapping[str, Any], concepts: Sequence[str], kind: str, name: str) -> IntervalEstimate | None:
    return _mean([quality.get(concept, {}).get(kind, {}).get(name) for concept in concepts])


def _mean(figures: Sequence[Mapping[str, Any] | None]) -> IntervalEstimate | None:
    known = [estimate for figure in figures if (estimate := estimate_of(figure)) is not None]
    return mean_estimate(known) if known and len(known) == len(figures) else None
