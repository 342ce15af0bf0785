# SPDX-License-Identifier: Apache-2.0
"""Commands of this software as processes of their own, forked from a server that has imported everything.

A process that begins with an empty interpreter takes seconds to import PyTorch, MONAI and diffusers before it does
anything. A chain of twenty commands then spends most of its time there.
"""

import importlib.util
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import IO, Any

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


def _hide(package: str) -> None:
    """Let this process not find a package that lies beside these tests or is installed for editing."""
    sys.path = [entry for entry in sys.path if not Path(entry, package).is_dir()]
    sys.meta_path = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
    if importlib.util.find_spec(package) is not None:
        sys.exit(f"{package} can still be imported")


def _run(
    command: Sequence[str], cwd: str | None, environment: Mapping[str, str], outputs: tuple[str, str], hidden: str
) -> None:
    if cwd is not None:
        os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = ["", *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    if hidden:
        _hide(hidden)
    sys.argv = [*command[2:]]
    warnings.filterwarnings("ignore", message="parsing config_file", category=UserWarning)
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), number)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    try:
        runpy.run_module(command[2], run_name="__main__", alter_sys=True)
    except SystemExit:
        raise
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(1)
    finally:
        sys.stdout.flush()


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
    command: Sequence[str], cwd: str | Path | None, env: Mapping[str, str], stdout: IO[bytes]
) -> ForkedProcess | subprocess.Popen[bytes]:
    """Begin a command as a chain does; one that is no ``python -m`` of this interpreter begins as ever."""
    if not is_python_module(command):
        return subprocess.Popen(command, cwd=cwd, env=env, stdout=stdout, stderr=subprocess.STDOUT)
    return _started(command, cwd, env, (stdout.name, stdout.name))


def run(
    command: Sequence[str],
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    hidden: str = "",
    **_: Any,
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m module ...`` as ``subprocess.run`` does with its output captured as text.

    A ``hidden`` package can't be imported, as where it is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = (f"{folder}/stdout", f"{folder}/stderr")
        status = _started(command, cwd, os.environ if env is None else env, outputs, hidden).wait(timeout)
        stdout, stderr = (Path(path).read_text(encoding="utf-8") for path in outputs)
        return subprocess.CompletedProcess(command, status, stdout, stderr)


def _started(
    command: Sequence[str], cwd: str | Path | None, env: Mapping[str, str], outputs: tuple[str, str], hidden: str = ""
) -> ForkedProcess:
    folder = None if cwd is None else str(cwd)
    process = CONTEXT.Process(target=_run, args=(list(command), folder, dict(env), outputs, hidden))
    process.start()
    return ForkedProcess(process)
