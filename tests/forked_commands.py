# SPDX-License-Identifier: Apache-2.0
"""Commands of this software as processes of their own, forked from a server that has imported everything.

A process that begins with an empty interpreter takes seconds to import PyTorch, MONAI and diffusers before it does
anything. A chain of twenty commands then spends most of its time there.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).resolve().parents[1]
PRELOADED = (
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.schedulers",
    "matplotlib.figure",
    "monai.bundle",
    "monai.engines",
    "monai.handlers",
    "monai.networks.nets",
    "monai.transforms",
    "scipy.stats",
    "SimpleITK",
    "sklearn.metrics",
    "torch.utils.tensorboard",
    "torchmetrics",
    "transformers.models.clip.modeling_clip",
)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([*PRELOADED])


def is_python_module(command: Sequence[str]) -> bool:
    """Whether a command is ``python -m module ...`` of this interpreter."""
    return list(command[:2]) == [sys.executable, "-m"]


def _run(command: Sequence[str], cwd: str | None, environment: Mapping[str, str], output: str) -> None:
    if cwd is not None:
        os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    added = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = ["", *filter(None, added)]
    sys.argv = [*command[2:]]
    warnings.filterwarnings("ignore", message="parsing config_file", category=UserWarning)
    with open(output, "a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            runpy.run_module(command[2], run_name="__main__", alter_sys=True)
        except SystemExit:
            raise
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
            sys.exit(1)
        finally:
            file.flush()


class ForkedProcess:
    """A running command, with what of :class:`subprocess.Popen` a chain of commands asks for."""

    def __init__(self, process: ForkServerProcess) -> None:
        self.process = process

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("", timeout or 0.0)
        return self.process.exitcode

    def terminate(self) -> None:
        self.process.terminate()


def start(
    command: Sequence[str], cwd: str | Path | None, env: Mapping[str, str], stdout: IO[bytes], **_: Any
) -> ForkedProcess | subprocess.Popen[bytes]:
    """Begin a command as ``subprocess.Popen`` does; one that is no ``python -m`` of this interpreter begins as ever."""
    if not is_python_module(command):
        return subprocess.Popen(command, cwd=cwd, env=env, stdout=stdout, stderr=subprocess.STDOUT)
    arguments = (list(command), None if cwd is None else str(cwd), dict(env), stdout.name)
    process = CONTEXT.Process(target=_run, args=arguments)
    process.start()
    return ForkedProcess(process)


def run(
    command: Sequence[str],
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    **_: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a command as ``subprocess.run`` does with its output captured; both streams come as ``stderr``."""
    log = Path(os.environ.get("TMPDIR", "/tmp")) / f"forked_{os.getpid()}.log"
    log.write_bytes(b"")
    with open(log, "ab") as file:
        process = start(command, cwd, os.environ if env is None else env, file)
    try:
        status = process.wait(timeout)
        return subprocess.CompletedProcess(command, status, "", log.read_text(encoding="utf-8"))
    finally:
        log.unlink()
