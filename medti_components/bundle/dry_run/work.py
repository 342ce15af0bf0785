# SPDX-License-Identifier: Apache-2.0
"""A part of a run, and the time it takes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """Something that a run does many times.

    Args:
        name: what it is.
        number: how often.
        seconds: of one; None where it was not timed.

    >>> Work("training steps", 100, 0.5).total
    50.0
    """

    name: str
    number: int
    seconds: float | None = None

    @property
    def total(self) -> float:
        """Seconds of all, 0 where it was not timed."""
        return self.number * (self.seconds or 0.0)


def duration(seconds: float) -> str:
    """Return a time in the unit that fits.

    >>> [duration(seconds) for seconds in (0.0123, 4.56, 65, 7260, 200_000)]
    ['12 ms', '4.6 s', '1 min 5 s', '2 h 1 min', '2 d 7 h']
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {smaller}"
    return f"{whole} s"
