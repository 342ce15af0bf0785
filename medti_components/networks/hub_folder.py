# SPDX-License-Identifier: Apache-2.0
"""A public network's files: a folder on this machine, or the same fetched from the Hugging Face hub."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import snapshot_download
from transformers.utils import logging as transformers_logging

from medti_components.errors import BaseModelError


def locate_folder(
    model: str, revision: str | None, what: str, remedy: str, patterns: Sequence[str], ignored: Sequence[str] = ()
) -> Path:
    """Return the folder that a config names, fetched from the hub where it is none.

    Args:
        model: a folder, or a hub id.
        revision: commit of the hub repository; ignored for a folder.
        what: what to call it in messages, for instance its config key.
        remedy: what to do where it is not reachable, for the message.
        patterns: files to fetch, such as "*.safetensors".
        ignored: files not to fetch.

    Raises:
        BaseModelError: it is neither a folder nor reachable on the hub.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    try:
        return Path(
            snapshot_download(
                model, revision=revision, allow_patterns=list(patterns), ignore_patterns=list(ignored) or None
            )
        )
    except Exception as error:  # the hub client's errors come from several libraries; each means: not reachable
        reason = str(error).partition("\n")[0].split(". ")[0][:200]
        raise BaseModelError(
            f"{what} '{model}' is neither a folder nor reachable on the hub ({reason}): {remedy}"
        ) from error


def locate_files(model: str, revision: str | None, what: str, remedy: str, files: Sequence[str]) -> Path:
    """Return the folder that a config names, as :func:`locate_folder` does, and check that it holds all ``files``.

    Raises:
        BaseModelError: it is neither a folder nor reachable, or lacks a file.
    """
    folder = locate_folder(model, revision, what, remedy, files)
    if missing := [name for name in files if not (folder / name).is_file()]:
        raise BaseModelError(f"{what} '{model}' lacks {', '.join(missing)}: {remedy}")
    return folder


@contextmanager
def without_loading_bar() -> Iterator[None]:
    """Hide the bar that transformers shows while it loads weights."""
    had_bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if had_bar:
            transformers_logging.enable_progress_bar()


def one_line(error: Exception, length: int = 200) -> str:
    """Return a library's message as one line.

    >>> one_line(ValueError("no\\n  such file"))
    'no such file'
    """
    return " ".join(str(error).split())[:length]
