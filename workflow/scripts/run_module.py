# SPDX-License-Identifier: Apache-2.0
"""A job of the workflow: run a module as ``python -m`` does, and go on where the same job was broken off.

python run_module.py --record steps/cell.json --working_dir . [--configs FILE ...] [--checkpoints FOLDER] -- module ...

Snakemake removes what a failed job should have left, and runs it again. It knows neither that a training goes on from
its own checkpoints, nor which of several GPUs a job on this machine is to take. Nothing slow is imported here.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import runpy
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
WARNINGS = "ignore:parsing config_file:UserWarning"
POLLING_SECONDS = 1.0


def digest(command: Sequence[str], configs: Sequence[str]) -> str:
    """Return the sha256 (hex) of a command and of the content of the config files that it reads."""
    contents = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in configs]
    return hashlib.sha256(json.dumps([*command, contents]).encode()).hexdigest()


@contextlib.contextmanager
def recorded(path: Path, job: str) -> Iterator[bool]:
    """Keep in ``path`` which job it is, its seconds and whether it has ended well; yield whether it was broken off.

    The seconds are those of all attempts that came to an end since the job began anew.
    """
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    goes_on = before.get("job") == job and not before["is_done"]
    record = before if goes_on else {"job": job, "seconds": 0.0, "is_done": False}
    earlier, start = record["seconds"], time.monotonic()
    _write(path, record)
    try:
        yield goes_on
        record["is_done"] = True
    finally:
        record["seconds"] = round(earlier + time.monotonic() - start, 1)
        _write(path, record)


def _write(path: Path, record: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")
    temporary.replace(path)


def gpu_names() -> list[str]:
    """Return the GPUs that this process may take, as ``CUDA_VISIBLE_DEVICES`` names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


@contextlib.contextmanager
def own_gpu() -> Iterator[None]:
    """Show this process one GPU that no other job on this machine has; wait for it where all are taken.

    Does nothing where there is one or none: a cluster shows each job its own.
    """
    names = gpu_names()
    with contextlib.ExitStack() as stack:
        while len(names) > 1:
            for name in names:
                path = Path(tempfile.gettempdir(), f"medti_{os.getuid()}_gpu_{name}.lock")
                file = open(path, "w")  # noqa: SIM115  it stays open, and so locked, until the job has ended
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    stack.callback(file.close)
                    os.environ["CUDA_VISIBLE_DEVICES"] = name
                    names = [name]
                    break
                file.close()
            else:
                time.sleep(POLLING_SECONDS)
        yield


def main() -> None:
    """Run the module; exits with its status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--working_dir", required=True)
    parser.add_argument("--configs", nargs="*", default=[])
    parser.add_argument("--checkpoints", type=Path, help="add --resume true where the job was broken off and left some")
    own, command = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    options = parser.parse_args(own)
    job = digest(command, options.configs)
    record, checkpoints = options.record.resolve(), [*options.checkpoints.glob("*")] if options.checkpoints else []
    os.chdir(options.working_dir)
    sys.path[0] = str(REPOSITORY)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    os.environ["PYTHONWARNINGS"] = WARNINGS
    with recorded(record, job) as goes_on, own_gpu():
        arguments = command[1:] + (["--resume", "true"] if goes_on and checkpoints else [])
        sys.argv = [command[0], *arguments]
        try:
            runpy.run_module(command[0], run_name="__main__", alter_sys=True)
        except SystemExit as ending:
            if ending.code not in (None, 0):
                raise


if __name__ == "__main__":
    main()
