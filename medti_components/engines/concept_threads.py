# SPDX-License-Identifier: Apache-2.0
"""Runs the concepts of a step side by side on a CPU's cores."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def single_threaded_operations() -> Iterator[None]:
    """Let each of torch's operations use one core, and put the number back afterwards."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


class ConceptThreads:
    """Maps a function over concepts: one core each on a CPU, one after the other on a GPU.

    A small model's operations are too small to be shared between cores, whole concepts are not. With one core for each
    operation the result does not depend on the number of cores or on which concepts are trained together, to the bit.

    >>> ConceptThreads("cpu").map(lambda number: number + 1, [1, 2, 3])
    [2, 3, 4]
    """

    def __init__(self, device: torch.device | str) -> None:
        self.num_threads = torch.get_num_threads() if torch.device(device).type == "cpu" else 1
        self._pool: ThreadPoolExecutor | None = None

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Return ``[function(item) for item in items]``; an exception of any is raised once all are done."""
        items = list(items)
        with single_threaded_operations():
            if min(self.num_threads, len(items)) < 2:
                return [function(item) for item in items]
            if self._pool is None:
                self._pool = ThreadPoolExecutor(min(self.num_threads, len(items)), thread_name_prefix="concept")
            futures = [self._pool.submit(function, item) for item in items]
            errors = [future.exception() for future in futures]
            for error in errors:
                if error is not None:
                    raise error
            return [future.result() for future in futures]
