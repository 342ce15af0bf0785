# SPDX-License-Identifier: Apache-2.0
"""What a command says, on stdout, as long as somebody reads it."""

import os
import sys

READER_GONE = 141  # 128 + SIGPIPE, as shells report it


def tell(text: str) -> None:
    """Print ``text``; end the process quietly where its reader has gone, as that of ``| head -1`` does.

    What is left of stdout then goes nowhere, since Python would write it at its end: "Note on SIGPIPE" in the
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
