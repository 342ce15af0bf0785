# SPDX-License-Identifier: Apache-2.0
"""Writing files in one piece: a reader finds the old file or the new one, never half of one."""

import csv
import errno
import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from medti_components.errors import OutputError

if TYPE_CHECKING:
    import torch


def check_writable(path: str | Path, key: str = "output_dir") -> None:
    """Check that files can be written in the folder ``path``, or that it can be made. Nothing is made.

    Raises:
        OutputError: neither is so; the message names the config key.
    """
    folder = Path(path).absolute()
    nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    reason = None
    if not nearest.is_dir():
        reason = os.strerror(errno.ENOTDIR)
    elif not os.access(nearest, os.W_OK | os.X_OK):
        reason = os.strerror(errno.EACCES)
    if reason is not None:
        raise OutputError(f"{key} '{path}' is not writable ({reason}): choose another by --{key}")


def ensure_writable_directory(path: str | Path, key: str = "output_dir") -> Path:
    """Create the folder ``path`` where needed and check that files can be written in it.

    Raises:
        OutputError: the folder can't be made or written to; the message names the config key.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{key} '{folder}' is not writable ({error.strerror}): choose another by --{key}") from error
    return folder


@contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it is renamed to ``path`` when the block ends, removed when it fails.

    Raises:
        OutputError: the folder is not writable or the disk is full.
    """
    target = Path(path)
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, target)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise OutputError(f"'{target}' can't be written ({reason}): free space or choose another folder") from error
    finally:
        with suppress(OSError):  # where the folder itself is at fault, the error above says so
            temporary.unlink(missing_ok=True)


def write_text_atomically(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` in one piece."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv_atomically(path: str | Path, header: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV in one piece."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    write_text_atomically(path, table.getvalue())


def save_tensors_atomically(
    path: str | Path, tensors: "Mapping[str, torch.Tensor]", metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors of any shape as a safetensors file in one piece."""
    from safetensors.torch import save_file  # here, since commands that save no tensor need no PyTorch

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with write_atomically(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(contiguous, temporary, metadata=dict(metadata or {}))
        temporary.chmod(mode)  # the library makes files that no colleague can read, whatever the umask
