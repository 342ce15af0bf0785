# SPDX-License-Identifier: Apache-2.0
"""What an evaluation said of a bundle's weights: figures, and whether they are safe to share."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medti_components.errors import BundleError

METRICS = "metrics.json"
SAFE = "safe to share"
NOT_FIGURES = ("settings", "versions", "verdict")


@dataclass(frozen=True)
class EvaluationSummary:
    """The figures of ``metrics.json`` and its verdict on copies.

    Args:
        figures: name, figure with its interval, and the images behind it, as texts.
        verdict: a text; None where nothing looked for copies.
    """

    figures: list[tuple[str, str, str]] = field(default_factory=list)
    verdict: str | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the verdict is another than that sharing is safe.

        >>> EvaluationSummary(verdict="not safe to share: 3 copies").is_refused
        True
        >>> EvaluationSummary(verdict="Safe to share").is_refused, EvaluationSummary().is_refused
        (False, False)
        """
        return self.verdict is not None and not self.verdict.strip().lower().startswith(SAFE)


def read_evaluation(folder: str | Path) -> EvaluationSummary:
    """Read the ``metrics.json`` that an evaluating run left.

    Its key "verdict", where there is one, is a text, or an object with a text "verdict".

    Raises:
        BundleError: there is none, or it can't be read.
    """
    path = Path(folder) / METRICS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"evaluation '{folder}' has no readable {METRICS} ({error}): give the output_dir of an evaluating run"
        ) from error
    if not isinstance(content, dict):
        raise BundleError(f"'{path}' must hold a JSON object, got {type(content).__name__}: evaluate again")
    verdict = content.get("verdict")
    if isinstance(verdict, Mapping):
        verdict = verdict.get("verdict", json.dumps(verdict))
    try:
        figures = [row for key, value in content.items() if key not in NOT_FIGURES for row in _figures(value, key)]
    except (TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"'{path}' has a figure that can't be read ({error}): evaluate again") from error
    return EvaluationSummary(figures, None if verdict is None else str(verdict))


def _figures(value: Any, name: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, bool) or not isinstance(value, Mapping | int | float):
        return
    if not isinstance(value, Mapping):
        yield name, f"{value:.4g}", ""
    elif "value" in value and "interval" in value:
        low, high = value["interval"]
        images = ", ".join(f"{count} {group}" for group, count in value.get("n", {}).items())
        yield name, f"{value['value']:.3g} [{low:.3g}, {high:.3g}]", images
    else:
        for key, entry in value.items():
            yield from _figures(entry, f"{name}, {key}")
