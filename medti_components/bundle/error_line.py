# SPDX-License-Identifier: Apache-2.0
"""What a run or a command prints: one line on stderr for a user's mistake, and its text on stdout.

Nothing slow is imported here: the command line needs it before it knows the command.
"""

import difflib
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from types import TracebackType

from medti_components.errors import MedtiError, PromptError

READER_GONE = 141  # 128 + SIGPIPE, as shells report it
# A data loader's worker sends its exception as the text of a traceback, which ends in ours.
_WORKER_ERROR = re.compile(
    r"DataLoader worker process.*^medti_components\.errors\.\w+: ([^\n]*)", re.DOTALL | re.MULTILINE
)


def find_typed_error(error: BaseException | None) -> MedtiError | None:
    """Return the outermost ``MedtiError`` among ``error`` and what it was raised from.

    >>> try:
    ...     try:
    ...         raise MedtiError("num_cases must be positive, got 0")
    ...     except MedtiError as error:
    ...         raise RuntimeError("Failed to instantiate component") from error
    ... except RuntimeError as error:
    ...     print(find_typed_error(error))
    num_cases must be positive, got 0
    """
    for link in _chain(error):
        if isinstance(link, MedtiError):
            return link
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def error_line(error: BaseException) -> str | None:
    """Return the line that a user sees for ``error``, or None for a defect, which shows its traceback.

    >>> error_line(MedtiError("prompt must be text, got 5"))
    'error: prompt must be text, got 5'
    >>> error_line(ZeroDivisionError()) is None
    True
    """
    typed = find_typed_error(error)
    if isinstance(typed, PromptError):
        return f"error: {typed}"
    if typed is not None:
        return f"error: {_one_line(str(typed))}"
    for link in _chain(error):
        if (from_worker := _WORKER_ERROR.search(str(link))) is not None:
            return f"error: {from_worker[1]}"
    torch = sys.modules.get("torch")  # raises nothing before it is imported
    if torch is not None and any(isinstance(link, torch.OutOfMemoryError) for link in _chain(error)):
        return "error: the GPU is out of memory: lay configs/low_memory.json over the config, or lower --batch_size"
    return None


def _one_line(message: str) -> str:
    from_worker = _WORKER_ERROR.search(message)
    return from_worker[1] if from_worker is not None else " ".join(message.split())


def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print ``error`` as one line if it is a user's mistake, else with its traceback (a ``sys.excepthook``).

    The exit status is Python's own, 1; 130 after an interruption from the keyboard.
    """
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        raise SystemExit(130)
    line = error_line(error)
    if line is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        print(line, file=sys.stderr)


class TypedErrorFilter(logging.Filter):
    """Drop the records by which engines announce an exception that the user will see as one line anyway."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False while an exception with a line of its own, or an interruption, is being handled."""
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else sys.exc_info()[1]
        if error is None or record.levelno < logging.ERROR:
            return True
        return not isinstance(error, KeyboardInterrupt) and error_line(error) is None


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the entry of ``known`` that ``word`` was probably meant to be.

    Args:
        word: what was given.
        known: what there is.
        cutoff: how alike they must be, from 0 (not at all) to 1 (equal).


    >>> nearest("max_epohcs", ["max_epochs", "seed"])
    'max_epochs'
    >>> nearest("zebra", ["max_epochs", "seed"]) is None
    True
    """
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return matches[0] if matches else None


def tell(text: str) -> None:
    """Print ``text``; end the process quietly when its reader has gone, as with ``| head -1``.

    The rest of stdout then goes nowhere, since Python would try to write it when it ends: see "Note on SIGPIPE" in the
    documentation of Python's module ``signal``.

    Raises:
        SystemExit: of status 141, when nobody reads.

    >>> tell("2 studies")
    2 studies
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(READER_GONE) from None


def install_error_line() -> None:
    """Show users' errors as one line from here on, in the uncaught exception and in the log."""
    sys.excepthook = report
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in logging.root.manager.loggerDict)]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if not any(isinstance(existing, TypedErrorFilter) for existing in handler.filters):
            handler.addFilter(TypedErrorFilter())
    if logging.lastResort is not None and not logging.lastResort.filters:
        logging.lastResort.addFilter(TypedErrorFilter())
