# SPDX-License-Identifier: Apache-2.0
"""What a training run has measured so far, as plain numbers that a checkpoint can hold."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medti_components.files import write_csv_atomically, write_text_atomically


class TrainingHistory:
    """Series of (step, value) by quantity and concept, and single reference values.

    Quantities are for instance "training_loss", "held_out_loss" and "row_norm"; references "empty prompt" and
    "initial rows".

    >>> history = TrainingHistory()
    >>> history.add("held_out_loss", "<a>", 10, 0.5)
    >>> history.add("held_out_loss", "<a>", 20, 0.25)
    >>> history.latest("held_out_loss", "<a>")
    (20, 0.25)
    """

    def __init__(self) -> None:
        self.series: dict[str, dict[str, list[list[float]]]] = {}
        self.references: dict[str, dict[str, float]] = {}

    def add(self, quantity: str, token: str, step: int, value: float) -> None:
        """Append ``value`` at ``step``; a value at the same step is replaced."""
        points = self.series.setdefault(quantity, {}).setdefault(token, [])
        if points and points[-1][0] == step:
            points.pop()
        points.append([step, value])

    def points(self, quantity: str, token: str) -> list[tuple[int, float]]:
        """Return the series of (step, value), empty when nothing was measured."""
        return [(int(step), float(value)) for step, value in self.series.get(quantity, {}).get(token, [])]

    def latest(self, quantity: str, token: str) -> tuple[int, float] | None:
        """Return the last (step, value), or None."""
        points = self.points(quantity, token)
        return points[-1] if points else None

    def state_dict(self) -> dict[str, Any]:
        """Return everything as lists, dictionaries and numbers."""
        return {"series": self.series, "references": self.references}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
        copied = json.loads(json.dumps(dict(state)))
        self.series, self.references = copied["series"], copied["references"]

    def write_held_out_loss(self, folder: str | Path) -> None:
        """Write ``held_out_loss.json`` (references, series) and ``held_out_loss.csv`` (step, concept, loss)."""
        folder = Path(folder)
        series = self.series.get("held_out_loss", {})
        contents = {"references": self.references, "held_out_loss": series}
        write_text_atomically(folder / "held_out_loss.json", json.dumps(contents, indent=2) + "\n")
        lines = sorted((int(step), token, value) for token, points in series.items() for step, value in points)
        write_csv_atomically(folder / "held_out_loss.csv", ("step", "concept", "held_out_loss"), lines)
