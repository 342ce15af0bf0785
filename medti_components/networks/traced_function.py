# SPDX-License-Identifier: Apache-2.0
"""Functions of tensors that run without Python, so that threads don't wait for each other."""

import logging
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

Graph = Callable[..., Tensor]
Shapes = tuple[tuple[torch.Size, torch.dtype], ...]

logger = logging.getLogger(__name__)


def can_trace() -> bool:
    """Tell whether TorchScript runs here: PyTorch does not support it from Python 3.14 on."""
    return sys.version_info < (3, 14)


class TracedFunction:
    """A function whose graph is recorded once for each set of input shapes and then runs without Python.

    Python runs one thread at a time. A small model's operations are so short that two threads that launch them from
    Python mostly wait for each other; a TorchScript graph launches the same operations, one by one and unchanged, with
    the interpreter free. So results and gradients are the function's own to the bit.

    The first call of a set of shapes records the graph, the second compares it with the function on inputs of its own;
    where they differ, the function is not a fixed sequence of operations, and all calls go to the function itself. May
    be called from several threads.

    Args:
        function: of tensors, to one tensor; what it takes besides its arguments must not change between calls.

    >>> doubled = TracedFunction(lambda values: values * 2)
    >>> [doubled(torch.full((2,), number)).tolist() for number in (1.0, 2.0, 3.0)]
    [[2.0, 2.0], [4.0, 4.0], [6.0, 6.0]]
    """

    def __init__(self, function: Graph) -> None:
        self.function = function
        self._recorded: dict[Shapes, Graph] = {}
        self._compared: dict[Shapes, Graph] = {}
        self._lock = threading.Lock()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return ``function(*inputs)``."""
        shapes = tuple((each.shape, each.dtype) for each in inputs)
        graph = self._compared.get(shapes)
        return self._first_results(shapes, inputs) if graph is None else graph(*inputs)

    def _first_results(self, shapes: Shapes, inputs: tuple[Tensor, ...]) -> Tensor:
        with self._lock:
            result = self.function(*inputs)
            if shapes not in self._recorded:
                self._recorded[shapes] = _record(self.function, inputs)
            elif shapes not in self._compared:
                is_equal = torch.equal(self._recorded[shapes](*inputs), result)
                self._compared[shapes] = self._recorded[shapes] if is_equal else self.function
                if not is_equal:
                    logger.warning("the recorded graph gives other values than the model: going on without it")
            return result


def _record(function: Graph, inputs: tuple[Tensor, ...]) -> Graph:
    with warnings.catch_warnings():
        # a deprecation without a successor that leaves the interpreter free, and shapes that become constants
        warnings.simplefilter("ignore")
        graph = torch.jit.trace(lambda *values: function(*values), inputs, check_trace=False)
    return partial(_run, graph)


def _run(graph: Graph, *inputs: Tensor) -> Tensor:
    # optimising passes fuse operations, which changes last digits; the switch is each thread's own
    with torch.jit.optimized_execution(False):
        return graph(*inputs)
