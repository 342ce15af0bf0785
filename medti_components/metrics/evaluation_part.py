# SPDX-License-Identifier: Apache-2.0
"""What an evaluation adds to its own figures: parts, each of which looks at the images and hands back what it found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch.utils.data import Dataset

Images = Dataset[dict[str, Any]]


@dataclass(frozen=True)
class EvaluatedImages:
    """What a part may look at. Items are ``{"image": float32 (3, H, W) in [-1, 1], "concept": token, ...}``.

    Args:
        generated: images of the embedding.
        reference: held-out real images, which neither the words nor a classifier saw.
        training: the real images that the words were learned from, or None.
        concepts: tokens of the concepts, the negative one first.
        output_dir: folder of the evaluation; caches and intermediate results go under ``output_dir / "parts"``.
    """

    generated: Images
    reference: Images
    training: Images | None
    concepts: Sequence[str]
    output_dir: Path


@dataclass(frozen=True)
class PartResult:
    """What a part found.

    Args:
        name: its key in ``metrics.json``, e.g. "quality".
        figures: ``IntervalEstimate`` and plain values in mappings of any depth.
        html: its section of the report, made with :mod:`medti_components.metrics.report_page`.
        summary: a plain sentence of text for the head of the report, or nothing.
    """

    name: str
    figures: Mapping[str, Any]
    html: Sequence[str] = field(default_factory=tuple)
    summary: str = ""


class EvaluationPart(Protocol):
    """Anything that measures on :class:`EvaluatedImages`."""

    def __call__(self, images: EvaluatedImages) -> PartResult:
        """Measure.

        Raises:
            MedtiError: the images don't fit; what was computed before is kept.
        """
        ...
