# SPDX-License-Identifier: Apache-2.0
"""The settings that tables 1 to 3 of "Medical diffusion on a budget" (MIDL 2024) vary, one at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medti_components.apps.reproduction.inversion_steps import words_name
from medti_components.errors import ConfigError

TABLES = {"table1": ("num_inference_steps", "guidance_scale"), "table2": ("num_vectors",), "table3": ("num_cases",)}
PAPER_FID: Mapping[str, Mapping[float, float]] = {
    "num_inference_steps": {25: 194, 50: 184, 75: 176, 100: 171},
    "guidance_scale": {1: 168, 2: 171, 3: 202, 4: 211, 5: 222},
    "num_vectors": {8: 177, 16: 184, 32: 218, 64: 171},
    "num_cases": {5: 203, 10: 181, 50: 181, 100: 171},
}
LARGEST = {"num_vectors": 75, "num_inference_steps": 1000}  # what CLIP's 77 positions and the schedule have room for
TITLES = {
    "num_inference_steps": "sampling steps",
    "guidance_scale": "guidance scale",
    "num_vectors": "vectors per word",
    "num_cases": "training cases",
}


@dataclass(frozen=True)
class GridSetting:
    """How words are learned and images of them made.

    >>> GridSetting(100, 2.0, 64, 100).name
    'steps_100_guidance_2_vectors_64_cases_100'
    """

    num_inference_steps: int
    guidance_scale: float
    num_vectors: int
    num_cases: int

    @property
    def name(self) -> str:
        """Of the cell's folder."""
        words = words_name(self.num_vectors, self.num_cases)
        return f"steps_{self.num_inference_steps}_guidance_{self.guidance_scale:g}_{words}"


@dataclass(frozen=True)
class GridCell:
    """A value on an axis, a key of :class:`GridSetting`, where all else is as in the middle of the grid."""

    axis: str
    value: float
    setting: GridSetting
    default: float

    @property
    def is_default(self) -> bool:
        """Whether this is the middle of the grid."""
        return self.value == self.default

    @property
    def paper(self) -> float | None:
        """FID in the paper, None for a value that it does not have."""
        return PAPER_FID[self.axis].get(self.value)

    @property
    def paper_difference(self) -> float | None:
        """FID in the paper less the paper's at the middle of this grid, None where it lacks one or this is it."""
        default = PAPER_FID[self.axis].get(self.default)
        return None if self.paper is None or default is None or self.is_default else self.paper - default


class ParameterGrid:
    """The cells of each axis: the values that are asked for, and the default among them.

    Args:
        default: what the configs say.
        values: by axis; as a rule those in ``PAPER_FID``.

    Raises:
        ConfigError: values of an axis are no list of positive numbers, or larger than there is room for, or than
            the config's cases.

    >>> grid = ParameterGrid(GridSetting(100, 2.0, 64, 100), {"num_vectors": [8, 16]})
    >>> [cell.value for cell in grid.cells("table2")], [cell.is_default for cell in grid.cells("table2")]
    ([8, 16, 64], [False, False, True])
    """

    def __init__(self, default: GridSetting, values: Mapping[str, Any]) -> None:
        self.default = default
        self._values = {axis: _numbers(axis, given) for axis, given in values.items()}
        largest = max(self._values.get("num_cases", [1]))
        if largest > default.num_cases:
            raise ConfigError(
                f"num_cases must be at most {default.num_cases}, as in the config, got {largest}: the cases beyond are "
                "held out; lower --num_cases, or raise it in an overlay"
            )

    def cells(self, table: str) -> list[GridCell]:
        """Return the cells of a table, axis by axis."""
        found = []
        for axis in TABLES[table]:
            middle = getattr(self.default, axis)
            for value in sorted({*self._values.get(axis, ()), middle}):
                setting = replace(self.default, **{axis: type(middle)(value)})
                found.append(GridCell(axis, value, setting, middle))
        return found


def _numbers(axis: str, given: Any) -> Sequence[float]:
    is_whole = axis != "guidance_scale"
    kinds, what = (int, "whole numbers from 1") if is_whole else ((int, float), "numbers above 0")
    fits = isinstance(given, list | tuple) and all(
        isinstance(value, kinds) and not isinstance(value, bool) and value > 0 for value in given
    )
    if not fits or not given:
        example = list(PAPER_FID[axis])
        raise ConfigError(f'{axis} must be a list of {what}, got {given!r}: write --{axis} "{example}"')
    if max(given) > LARGEST.get(axis, max(given)):
        raise ConfigError(f"{axis} must be at most {LARGEST[axis]}, got {max(given)}: lower it in --{axis}")
    return list(given)
