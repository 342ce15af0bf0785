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
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, Listener
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

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
    "snakemake.cli",
    "torch.utils.tensorboard",
    "torchmetrics",
    "transformers.models.clip.modeling_clip",
)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([*PRELOADED])


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
    is_module = command[1] == "-m"
    sys.argv = [*command[2 if is_module else 1 :]]
    warnings.filterwarnings("ignore", message="parsing config_file", category=UserWarning)
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), number)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    try:
        if is_module:
            runpy.run_module(command[2], run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = str(Path(command[1]).parent)
            runpy.run_path(command[1], run_name="__main__")
    except SystemExit:
        raise
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(1)
    finally:
        sys.stdout.flush()


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
        status = _status(command, cwd, os.environ if env is None else env, outputs, timeout, hidden)
        stdout, stderr = (Path(path).read_text(encoding="utf-8") for path in outputs)
        return subprocess.CompletedProcess(command, status, stdout, stderr)


def _status(
    command: Sequence[str],
    cwd: str | Path | None,
    env: Mapping[str, str],
    outputs: tuple[str, str],
    timeout: float | None = None,
    hidden: str = "",
) -> int:
    folder = None if cwd is None else str(cwd)
    process: ForkServerProcess = CONTEXT.Process(target=_run, args=(list(command), folder, dict(env), outputs, hidden))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise subprocess.TimeoutExpired(list(command), timeout or 0.0)
    return process.exitcode


# What a forking interpreter is to whoever starts it: hands its command line over, and ends as the fork does.
CLIENT = """
import os, sys
from multiprocessing.connection import Client
with Client({address!r}, "AF_UNIX") as connection:
    outputs = [os.readlink(f"/proc/self/fd/{{number}}") for number in (1, 2)]
    connection.send((sys.argv, os.getcwd(), dict(os.environ), outputs))
    sys.exit(connection.recv())
"""


@contextmanager
def forking_python(folder: Path) -> Iterator[Path]:
    """Yield a program that does what Python does with a script or a module, in a process forked from the server.

    Its output has to go to files.
    """
    address, program = str(folder / "socket"), folder / "python"
    program.write_text(f"#!{sys.executable} -IS\n{CLIENT.format(address=address)}")
    program.chmod(0o755)
    with Listener(address, "AF_UNIX") as listener:
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        yield program


def _serve(listener: Listener) -> None:
    while True:
        try:
            connection = listener.accept()
        except OSError:  # the listener was closed
            return
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: Connection) -> None:
    with connection:
        command, cwd, environment, outputs = connection.recv()
        connection.send(_status(command, cwd, environment, tuple(outputs)))
