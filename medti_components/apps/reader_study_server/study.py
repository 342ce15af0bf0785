# SPDX-License-Identifier: Apache-2.0
"""What a reader study asks, in which order for whom; kept on disk, so that it goes on as it began."""

import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from medti_components.apps.reader_study_server.reader_answers import KINDS
from medti_components.errors import DataError, OutputError
from medti_components.files import write_text_atomically
from medti_components.random_streams import random_stream

STUDY_FILE = "study.json"
QUESTIONS = ("single", "pairs")


@dataclass(frozen=True)
class StudyPicture:
    """A picture of a study: ``real`` or ``synthetic``, its file relative to that kind's folder, and its hash."""

    kind: str
    file: str
    sha256: str


@dataclass(frozen=True)
class ReaderStudy:
    """The questions of a study.

    Args:
        kind: ``single`` or ``pairs``.
        seed: draws pictures, orders and sides.
        settings: what else decides on the pictures and how they look.
        items: the picture of each question, or the real and the synthetic one.
        link_key: random part of the page's address, without which nothing is served.
    """

    kind: str
    seed: int
    settings: Mapping[str, Any]
    items: Sequence[tuple[StudyPicture, ...]]
    link_key: str

    @classmethod
    def of(
        cls,
        kind: str,
        seed: int,
        settings: Mapping[str, Any],
        files: Mapping[str, Sequence[Path]],
        folders: Mapping[str, Path],
        sha256: Callable[[Path], str],
    ) -> "ReaderStudy":
        """Return a new study: a question a picture, or a question a pair of a real and a synthetic one.

        Args:
            kind: ``single`` or ``pairs``.
            seed: draws orders and sides.
            settings: what else decides on the pictures and how they look.
            files: the pictures of each kind, equally many.
            folders: the folder of each kind.
            sha256: gives a picture's hash.
        """
        pictures = {
            name: [StudyPicture(name, _relative(path, folders[name]), sha256(path)) for path in files[name]]
            for name in KINDS
        }
        items: list[tuple[StudyPicture, ...]]
        if kind == "pairs":
            items = [*zip(*(pictures[name] for name in KINDS), strict=True)]
        else:
            items = [(picture,) for name in KINDS for picture in pictures[name]]
        return cls(kind, seed, settings, items, secrets.token_urlsafe(16))

    @classmethod
    def read(cls, folder: str | Path) -> "ReaderStudy":
        """Return the study of an ``output_dir``.

        Raises:
            DataError: there is none, or its file is damaged.
        """
        path = Path(folder) / STUDY_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            items = [tuple(StudyPicture(**picture) for picture in item) for item in content["items"]]
            return cls(**{**content, "items": items})
        except FileNotFoundError as error:
            raise DataError(f"output_dir '{folder}' holds no reader study: correct --output_dir") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"'{path}' is damaged: restore it, or choose another folder by --output_dir") from error

    def begun_or_continued(self, folder: str | Path) -> "ReaderStudy":
        """Return the study that ``folder`` holds if it is this one, else write this one there.

        Raises:
            OutputError: the folder holds a study of other pictures or settings.
            DataError: its file is damaged.
        """
        path = Path(folder) / STUDY_FILE
        if not path.exists():
            write_text_atomically(path, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
            path.chmod(0o600)  # holds the answers and the link
            return self
        known = ReaderStudy.read(folder)
        here, there = ({"kind": study.kind, "seed": study.seed, **study.settings} for study in (self, known))
        differing = [f"--{name} {there.get(name)}" for name in here if here[name] != there.get(name)]
        if differing or list(known.items) != list(self.items):
            remedy = f"give {' '.join(differing)}" if differing else "restore the pictures"
            raise OutputError(
                f"output_dir '{folder}' holds a study of other pictures or settings: {remedy} to go on with it, or "
                "choose another folder by --output_dir"
            )
        return known

    def order(self, reader: str) -> list[int]:
        """Return the items in the order in which ``reader`` sees them."""
        return torch.randperm(len(self.items), generator=self._stream("order", reader)).tolist()

    def shown(self, reader: str, item: int) -> tuple[StudyPicture, ...]:
        """Return the pictures of an item from left to right; each kind is on the left as often, up to one."""
        sides = torch.randperm(len(self.items), generator=self._stream("sides", reader)) % 2
        return tuple(reversed(self.items[item])) if sides[item] else tuple(self.items[item])

    def _stream(self, name: str, reader: str) -> torch.Generator:
        return random_stream(self.seed, "reader study", name, reader)


def drawn(paths: Sequence[Path], number: int, seed: int, kind: str) -> list[Path]:
    """Return ``number`` of ``paths``, drawn; those drawn of few are the first of those drawn of many."""
    order = torch.randperm(len(paths), generator=random_stream(seed, "reader study", "pictures", kind))
    return [paths[index] for index in order[:number].tolist()]


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
