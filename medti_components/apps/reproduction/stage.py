# SPDX-License-Identifier: Apache-2.0
"""A command of a chain, and the record of its attempts, by which what is done is not done again."""

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medti_components.files import write_text_atomically


@dataclass(frozen=True)
class Stage:
    """One command of the chain.

    Args:
        name: unique in the chain, with slashes where it is one of a group; the last part says of what kind it is.
        command: program and arguments.
        needs: names of the stages before it.
        files: configs that the command reads; it is run again when their content has changed.
        resume: arguments that let the same command go on where it was broken off.
        work: how much there is to do, in a unit that all stages of its kind share, to tell how long it will take.
        images: folder that it adds images to; those that another command of this stage left there are removed first,
            so that no later stage takes them for this one's.
    """

    name: str
    command: list[str]
    needs: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    resume: tuple[str, ...] = ()
    work: float = 1.0
    images: Path | None = None

    @property
    def kind(self) -> str:
        """The last part of the name.

        >>> Stage("seed_0/training", []).kind
        'training'
        """
        return self.name.rpartition("/")[2]

    @property
    def digests(self) -> dict[str, str]:
        """Path and sha256 of each file."""
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in self.files}


@dataclass(frozen=True)
class StageRecord:
    """The attempts at a stage, kept in a file: command, seconds, exit status and time of each.

    The status is None from the beginning of an attempt to its end, and stays so when it was killed.
    """

    path: Path
    attempts: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> "StageRecord":
        """Read what earlier runs did."""
        return cls(path, json.loads(path.read_text(encoding="utf-8")) if path.is_file() else [])

    def begin(self, command: Sequence[str], files: Mapping[str, str] | None = None) -> None:
        """Note that an attempt begins; ``files`` are path and sha256 of what it reads."""
        attempt = {"command": [*command], "files": dict(files or {}), "seconds": 0.0, "status": None}
        self.attempts.append({**attempt, "finished": time.time()})
        self._write()

    def end(self, seconds: float, status: int) -> None:
        """Note how the attempt ended."""
        self.attempts[-1] |= {"seconds": round(seconds, 1), "status": status, "finished": time.time()}
        self._write()

    def _write(self) -> None:
        write_text_atomically(self.path, json.dumps(self.attempts, indent=2) + "\n")

    @property
    def finished(self) -> float:
        """When the last attempt ended, in seconds since the epoch; 0 where there was none."""
        return float(self.attempts[-1]["finished"]) if self.attempts else 0.0

    def is_of(self, command: Sequence[str], files: Mapping[str, str] | None = None) -> bool:
        """Whether the last attempt was this command, with files of this content."""
        if not self.attempts:
            return False
        last = self.attempts[-1]
        return last["command"] == [*command] and last.get("files", {}) == dict(files or {})

    def is_done(
        self, command: Sequence[str], needs: Sequence["StageRecord"] = (), files: Mapping[str, str] | None = None
    ) -> bool:
        """Whether the last attempt was this command, succeeded, and came after those it builds on."""
        if not self.is_of(command, files) or self.attempts[-1]["status"] != 0:
            return False
        return all(need.finished <= self.finished for need in needs)

    def minutes(self) -> float:
        """Minutes of all attempts at the last command together: one that was broken off was gone on with."""
        if not self.attempts:
            return float("nan")
        last = self.attempts[-1]["command"]
        return sum(attempt["seconds"] for attempt in self.attempts if attempt["command"] == last) / 60


def arguments_of(keys: Mapping[str, Any]) -> list[str]:
    """Return keys and values as a command line has them; those that are None are left out.

    >>> arguments_of({"seed": 3, "max_steps": None})
    ['--seed', '3']
    """
    return [text for key, value in keys.items() if value is not None for text in (f"--{key}", str(value))]


def bundle_command(run_id: str, config_files: Sequence[Path], keys: Mapping[str, Any]) -> list[str]:
    """Return the command that runs a bundle's config with the overlays behind it."""
    files = [str(path) for path in config_files]
    command = [sys.executable, "-m", "monai.bundle", "run", run_id]
    return [*command, "--config_file", str(files) if len(files) > 1 else files[0], *arguments_of(keys)]
