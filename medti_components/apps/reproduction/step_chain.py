# SPDX-License-Identifier: Apache-2.0
"""A chain of commands that can be broken off and gone on with, several at a time."""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

import medti_components
from medti_components.engines.run_folder import checkpoint_paths
from medti_components.files import write_text_atomically


@dataclass(frozen=True)
class Step:
    """One command of the chain.

    Args:
        name: unique in the chain, with slashes where it is one of a group; the last part says of what kind it is.
        command: program and arguments.
        needs: names of the steps before it.
        files: configs that the command reads; it is run again when their content has changed.
        resume: arguments that let the same command go on where it was broken off.
        checkpoints: folder from whose newest checkpoint it goes on; while there is none, it begins anew.
        work: how much there is to do, in a unit that all steps of its kind share, to tell how long it will take.
        images: folder that it adds images to; those that another command of this step left there are removed first,
            so that no later step takes them for this one's.
    """

    name: str
    command: list[str]
    needs: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    resume: tuple[str, ...] = ()
    work: float = 1.0
    images: Path | None = None
    checkpoints: Path | None = None

    @property
    def kind(self) -> str:
        """The last part of the name.

        >>> Step("seed_0/training", []).kind
        'training'
        """
        return self.name.rpartition("/")[2]

    @property
    def digests(self) -> dict[str, str]:
        """Path and sha256 of each file."""
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in self.files}


@dataclass(frozen=True)
class StepRecord:
    """The attempts at a step, kept in a file: command, seconds, exit status and time of each.

    The status is None from the beginning of an attempt to its end, and stays so when it was killed.
    """

    path: Path
    attempts: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> "StepRecord":
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
        self, command: Sequence[str], needs: Sequence["StepRecord"] = (), files: Mapping[str, str] | None = None
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


POLLING_SECONDS = 0.1


@dataclass(frozen=True)
class _Running:
    step: Step
    process: subprocess.Popen[bytes]
    slot: int
    start: float


class StepChain:
    """Steps with their records in ``output_dir/steps`` and logs in ``output_dir/logs``.

    Args:
        steps: each after those that it needs.
        output_dir: folder of records and logs.
        num_processes: how many run at a time.
        working_dir: where the commands run; this process's own where None.

    Attributes:
        failed: names of steps that failed, with the last line of the log, and of those left out for that.

    >>> import tempfile
    >>> chain = StepChain([Step("a", ["true"]), Step("b", ["false"], ("a",))], tempfile.mkdtemp())
    >>> _ = [*chain.run()]
    >>> chain.failed.keys(), chain.is_done(chain.steps[0])
    (dict_keys(['b']), True)
    """

    def __init__(
        self,
        steps: Sequence[Step],
        output_dir: str | Path,
        num_processes: int = 1,
        working_dir: str | Path | None = None,
    ) -> None:
        self.steps = list(steps)
        self.output_dir = Path(output_dir)
        self.num_processes = num_processes
        self.working_dir = working_dir
        self.failed: dict[str, str] = {}
        self._records = {step.name: record_of(step.name, self.output_dir) for step in steps}

    def is_done(self, step: Step) -> bool:
        """Whether nothing is left to do for a step."""
        needs = [self._records[name] for name in step.needs]
        return self._records[step.name].is_done(step.command, needs, step.digests)

    def run(self) -> Iterator[str]:
        """Run what is not done yet; yield a line when a step begins, ends, fails, is left out or was done before."""
        titles = {step.name: f"[{n}/{len(self.steps)}] {step.name}" for n, step in enumerate(self.steps, start=1)}
        waiting, running = [*self.steps], list[_Running]()
        try:
            while waiting or running:
                for step in [*waiting]:
                    open_needs = {one.name for one in (*waiting, *(each.step for each in running))} & {*step.needs}
                    missing = [name for name in step.needs if name in self.failed]
                    if missing:
                        self.failed[step.name] = f"left out: {missing[0]} failed"
                        line = self.failed[step.name]
                    elif open_needs:
                        continue
                    elif self.is_done(step):
                        line = f"done before, {self._records[step.name].minutes():.1f} min"
                    elif len(running) < self.num_processes:
                        line = shlex.join(step.command)
                        running.append(self._started(step, {each.slot for each in running}))
                    else:
                        continue
                    waiting.remove(step)
                    yield f"{titles[step.name]}: {line}"
                for each in [one for one in running if one.process.poll() is not None]:
                    running.remove(each)
                    line = self._ended(each)
                    left = self._left([*waiting, *(one.step for one in running)])
                    yield f"{titles[each.step.name]}: {line}{left}"
                if running:
                    time.sleep(POLLING_SECONDS)
        except KeyboardInterrupt:
            for each in running:
                each.process.wait()  # it got the interrupt too, and saves a checkpoint
            raise
        finally:
            for each in running:
                each.process.terminate()
                each.process.wait()

    def _started(self, step: Step, taken: set[int]) -> _Running:
        record, digests = self._records[step.name], step.digests
        goes_on = record.is_of(step.command, digests) and record.attempts[-1]["status"] != 0
        goes_on &= step.checkpoints is None or bool(checkpoint_paths(step.checkpoints))
        command = [*step.command, *(step.resume if goes_on else ())]
        is_another = record.attempts and not record.is_of(step.command, digests)
        if is_another and step.images is not None and step.images.is_dir():
            shutil.rmtree(step.images)
        record.begin(step.command, digests)
        slot = min({*range(self.num_processes)} - taken)
        log = self._log(step)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as file:
            process = start_process(command, self.working_dir, self._environment(slot), file)
        return _Running(step, process, slot, time.monotonic())

    def _ended(self, each: _Running) -> str:
        record, log = self._records[each.step.name], self._log(each.step)
        status = each.process.wait()
        record.end(time.monotonic() - each.start, status)
        if status == 0:
            return f"{record.minutes():.1f} min"
        self.failed[each.step.name] = f"exit status {status}: {_last_line(log)} ({log})"
        return self.failed[each.step.name]

    def plan(self) -> Iterator[str]:
        """Yield each command, whether it is done, and how long the others will take as far as that is known."""
        for step in self.steps:
            state = f"done, {self._records[step.name].minutes():.1f} min" if self.is_done(step) else "to do"
            yield f"{step.name}: {state}: {shlex.join(step.command)}"
        yield f"{len(self.steps)} commands{self._left(self.steps) or ', all done'}"

    def _left(self, steps: Sequence[Step]) -> str:
        """Say how long steps will take, by what those of their kinds took for their work."""
        minutes, work = defaultdict[str, float](float), defaultdict[str, float](float)
        for step in self.steps:
            record = self._records[step.name]
            if record.attempts and record.attempts[-1]["status"] == 0:
                minutes[step.kind] += record.minutes()
                work[step.kind] += step.work
        to_do = [step for step in steps if not self.is_done(step)]
        known = [minutes[step.kind] / work[step.kind] * step.work for step in to_do if work[step.kind]]
        if not to_do:
            return ""
        word = "about" if len(known) == len(to_do) else "over"
        time_left = f", {word} {sum(known) / self.num_processes:.0f} min" if known else ""
        return f"; {len(to_do)} to do{time_left}"

    def _log(self, step: Step) -> Path:
        return self.output_dir / "logs" / f"{step.name}.log"

    def _environment(self, slot: int) -> dict[str, str]:
        source = str(Path(medti_components.__file__).parents[1])
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")])),
            "PYTHONWARNINGS": "ignore:parsing config_file:UserWarning",
        }
        if self.num_processes > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, num_cores() // self.num_processes)))
            if devices := gpus():
                environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
        return environment


def start_process(
    command: Sequence[str], cwd: str | Path | None, env: Mapping[str, str], stdout: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Begin a command in ``cwd`` whose output, that on stderr too, goes to an open file."""
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=stdout, stderr=subprocess.STDOUT)


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Return the GPUs that this process sees, as ``CUDA_VISIBLE_DEVICES`` names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else list(map(str, range(torch.cuda.device_count())))
    return names[: torch.cuda.device_count()]


def record_of(name: str, output_dir: Path) -> StepRecord:
    """Read the record of a step."""
    return StepRecord.load(output_dir / "steps" / f"{name}.json")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "no output")
