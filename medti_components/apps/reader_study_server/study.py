# SPDX-License-Identifier: Apache-2.0
"""What a reader study asks, in which order, and what its readers answered; all of it is on disk."""

import json
import logging
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from medti_components.errors import DataError, OutputError
from medti_components.files import write_text_atomically
from medti_components.random_streams import random_stream

logger = logging.getLogger(__name__)

KINDS = ("real", "synthetic")
SIDES = ("left", "right")
RATINGS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class ReaderAnswer:
    """One answer.

    Args:
        item: number of the question in the study, from 0.
        shown: the truth: ``real`` or ``synthetic`` of the picture, or of the left and of the right one.
        answer: of one picture ``real`` or ``synthetic``; of two ``left`` or ``right``, the more realistic.
        rating: how realistic the picture is, 1 to 5; None of two.
        seconds: time from the picture's appearance to the answer; None where the browser did not send it.
        answered_at: when, ISO 8601.
    """

    item: int
    shown: tuple[str, ...]
    answer: str
    rating: int | None = None
    seconds: float | None = None
    answered_at: str = ""

    @property
    def chosen(self) -> str:
        """What the reader called one picture, or the truth of the preferred one of two.

        >>> ReaderAnswer(0, ("synthetic", "real"), "left").chosen
        'synthetic'
        """
        return self.shown[SIDES.index(self.answer)] if len(self.shown) == 2 else self.answer

    @property
    def is_whole(self) -> bool:
        """Whether the page can have given this answer."""
        if not isinstance(self.item, int) or self.item < 0:
            return False
        if len(self.shown) == 2:
            return sorted(self.shown) == list(KINDS) and self.answer in SIDES
        return len(self.shown) == 1 and self.shown[0] in KINDS and self.answer in KINDS and self.rating in RATINGS


class AnswerFile:
    """``<reader>.jsonl``: one JSON object per line, each on the disk before the next question is asked.

    A line that was cut off when the machine stopped is removed, and its question is asked again.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def reader(self) -> str:
        """The reader's name."""
        return self.path.stem

    def answers(self) -> list[ReaderAnswer]:
        """Return the answers in the order given.

        Raises:
            DataError: a line is of another kind.
        """
        if not self.path.is_file():
            return []
        *lines, torn = self.path.read_bytes().split(b"\n")
        if torn:
            logger.warning("the last line of '%s' was torn and does not count", self.path)
        return [self._answer(number, line) for number, line in enumerate(lines, start=1)]

    def append(self, answer: ReaderAnswer) -> None:
        """Add an answer.

        Raises:
            OutputError: it can't be written.
        """
        line = json.dumps(asdict(answer), ensure_ascii=False).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a+b") as file:
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(
                f"'{self.path}' can't be written ({error.strerror}): free space or correct its rights"
            ) from error

    def _answer(self, number: int, line: bytes) -> ReaderAnswer:
        try:
            entry = json.loads(line)
            answer = ReaderAnswer(**{**entry, "shown": tuple(entry["shown"])})
        except (ValueError, KeyError, TypeError):
            answer = None
        if answer is None or not answer.is_whole:
            raise DataError(f"'{self.path}' line {number} is no answer of a reader study: restore or remove the file")
        return answer


def answers_by_reader(folder: str | Path) -> dict[str, list[ReaderAnswer]]:
    """Return the answers in each ``.jsonl`` of ``folder``, by the reader's name.

    Raises:
        DataError: there is no answer, or a line is no answer.
    """
    files = [AnswerFile(path) for path in sorted(Path(folder).glob("*.jsonl"))]
    answers = {file.reader: file.answers() for file in files}
    answers = {reader: given for reader, given in answers.items() if given}
    if not answers:
        raise DataError(f"'{folder}' holds no answers: let a reader answer first, or correct --output_dir")
    return answers


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
        settings: all other settings of the pictures.
        items: the picture of each question, or the real and the synthetic one.
        link_key: random part of the page's address; without it nothing is served.
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
        """Return a new study with one question per picture, or per pair of a real and a synthetic picture.

        Args:
            kind: ``single`` or ``pairs``.
            seed: draws orders and sides.
            settings: all other settings of the pictures.
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
            DataError: there is no study, or its file is damaged.
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
        """Return the study in ``folder`` where it is this one; write this one into an empty folder.

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
        """Return the pictures of an item from left to right; both kinds are equally often on the left, up to one."""
        sides = torch.randperm(len(self.items), generator=self._stream("sides", reader)) % 2
        return tuple(reversed(self.items[item])) if sides[item] else tuple(self.items[item])

    def _stream(self, name: str, reader: str) -> torch.Generator:
        return random_stream(self.seed, "reader study", name, reader)


def drawn(paths: Sequence[Path], number: int, seed: int, kind: str) -> list[Path]:
    """Draw ``number`` of ``paths``; a smaller number gives the first of a larger one."""
    order = torch.randperm(len(paths), generator=random_stream(seed, "reader study", "pictures", kind))
    return [paths[index] for index in order[:number].tolist()]


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
