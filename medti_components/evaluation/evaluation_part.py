# SPDX-License-Identifier: Apache-2.0
"""What an evaluation adds to its own figures: parts, each of which looks at the images and hands back what it found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Protocol

from torch.utils.data import Dataset

from medti_components.evaluation.sharing_verdict import SharingCheck

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
        html: its section of the report, made with :mod:`medti_components.visualize.report_page`.
        summary: a plain sentence of text for the head of the report, or nothing.
        checks: what it says of whether the images and words may be shared.
    """

    name: str
    figures: Mapping[str, Any]
    html: Sequence[str] = field(default_factory=tuple)
    summary: str = ""
    checks: Sequence[SharingCheck] = ()


class EvaluationPart(Protocol):
    """Anything that measures on :class:`EvaluatedImages`."""

    def __call__(self, images: EvaluatedImages) -> PartResult:
        """Measure.

        Raises:
            MedtiError: the images don't fit; what was computed before is kept.
        """
        ...


def undetermined(name: str, heading: str, reason: str) -> PartResult:
    """Return the result of a part that could not measure, for a ``reason`` in plain text that is no fault.

    >>> undetermined("modality", "Left and right", "num_cases is 0").figures
    {'undetermined': 'num_cases is 0'}
    """
    return PartResult(
        name, {"undetermined": reason}, [f"<h2>{heading}</h2>", f"<p>Undetermined: {escape(reason)}.</p>"]
    )
