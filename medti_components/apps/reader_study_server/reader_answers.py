# SPDX-License-Identifier: Apache-2.0
"""What the readers of a study answered, a file a reader, written as they answer."""

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from medti_components.errors import DataError, OutputError

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
        seconds: time from the picture's appearance to the answer; None where the browser did not tell.
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
        """What was said of one picture, or the truth of the one preferred of two.

        >>> ReaderAnswer(0, ("synthetic", "real"), "left").chosen
        'synthetic'
        """
        return self.shown[SIDES.index(self.answer)] if len(self.shown) == 2 else self.answer

    @property
    def is_whole(self) -> bool:
        """Whether the answer is one that the page can give."""
        if not isinstance(self.item, int) or self.item < 0:
            return False
        if len(self.shown) == 2:
            return sorted(self.shown) == list(KINDS) and self.answer in SIDES
        return len(self.shown) == 1 and self.shown[0] in KINDS and self.answer in KINDS and self.rating in RATINGS


class AnswerFile:
    """``<reader>.jsonl``: a JSON object a line, each on the disk before the next question is asked.

    A line that was torn when the machine stopped is removed, and the question asked again.

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
        DataError: there is none, or a line is of another kind.
    """
    files = [AnswerFile(path) for path in sorted(Path(folder).glob("*.jsonl"))]
    answers = {file.reader: file.answers() for file in files}
    answers = {reader: given for reader, given in answers.items() if given}
    if not answers:
        raise DataError(f"'{folder}' holds no answers: let a reader answer first, or correct --output_dir")
    return answers
