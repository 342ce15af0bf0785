# SPDX-License-Identifier: Apache-2.0
"""A chain of commands that can be broken off and gone on with: what is done is not done again."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Stage:
    """One command of the chain; ``needs`` are the names of the stages before it."""

    name: str
    command: list[str]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class StageRecord:
    """The attempts at a stage, kept in a file: command, seconds, exit status and time of each."""

    path: Path
    attempts: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> "StageRecord":
        """Read what earlier runs of this script did."""
        return cls(path, json.loads(path.read_text()) if path.is_file() else [])

    def add(self, command: Sequence[str], seconds: float, status: int) -> None:
        """Note an attempt, in one piece."""
        self.attempts.append(
            {"command": list(command), "seconds": round(seconds, 1), "status": status, "finished": time.time()}
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".part")
        temporary.write_text(json.dumps(self.attempts, indent=2) + "\n")
        temporary.replace(self.path)

    @property
    def finished(self) -> float:
        """When the last attempt ended, in seconds since the epoch; 0 where there was none."""
        return float(self.attempts[-1]["finished"]) if self.attempts else 0.0

    def is_done(self, command: Sequence[str], needs: Sequence["StageRecord"] = ()) -> bool:
        """Whether the last attempt was this command, succeeded, and came after those it builds on."""
        if not self.attempts or self.attempts[-1]["status"] != 0 or self.attempts[-1]["command"] != [*command]:
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


def record_of(name: str, output_dir: Path) -> StageRecord:
    """Read the record of a stage."""
    return StageRecord.load(output_dir / "stages" / f"{name}.json")


def is_done(stage: Stage, output_dir: Path) -> bool:
    """Whether nothing is left to do for a stage."""
    return record_of(stage.name, output_dir).is_done(
        stage.command, [record_of(need, output_dir) for need in stage.needs]
    )


def run_stages(chain: Sequence[Stage], output_dir: Path) -> dict[str, str]:
    """Run what is not done yet; return the failed stages with the last line of their logs, and those left out."""
    failed: dict[str, str] = {}
    for number, stage in enumerate(chain, start=1):
        title = f"[{number}/{len(chain)}] {stage.name}"
        record = record_of(stage.name, output_dir)
        missing = [name for name in stage.needs if name in failed]
        if missing:
            failed[stage.name] = f"left out: {missing[0]} failed"
        elif is_done(stage, output_dir):
            print(f"{title}: done before, {record.minutes():.1f} min", flush=True)
            continue
        else:
            print(f"{title}: {shlex.join(stage.command)}", flush=True)
            start = time.monotonic()
            log = output_dir / "logs" / f"{stage.name}.log"
            status = _run_logged(stage.command, log)
            record.add(stage.command, time.monotonic() - start, status)
            if status == 0:
                print(f"{title}: {record.minutes():.1f} min", flush=True)
                continue
            failed[stage.name] = f"exit status {status}: {_last_line(log)} ({log})"
        print(f"{title}: {failed[stage.name]}", flush=True)
    return failed


def _run_logged(command: Sequence[str], log: Path) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])),
        "PYTHONWARNINGS": "ignore:parsing config_file:UserWarning",
    }
    with open(log, "ab") as file:
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.wait()  # it got the interrupt too, and saves a checkpoint
            raise


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "no output")
