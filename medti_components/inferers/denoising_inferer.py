# SPDX-License-Identifier: Apache-2.0
"""From one concept's rows to the frozen model's prediction, as a recorded graph where threads would wait for Python."""

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from medti_components.networks.concept_embedding import ConceptEmbedding

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

Shapes = tuple[tuple[torch.Size, torch.dtype], ...]

logger = logging.getLogger(__name__)


def can_trace() -> bool:
    """Tell whether TorchScript runs here: PyTorch does not support it from Python 3.14 on."""
    return sys.version_info < (3, 14)


class TracedModule:
    """A module whose graph is recorded once for each set of input shapes and then runs without Python.

    Python runs one thread at a time. A small model's operations are so short that two threads that launch them from
    Python mostly wait for each other; a TorchScript graph launches the same operations, one by one and unchanged, with
    the interpreter free. So results and gradients are the module's own to the bit.

    The first call of a set of shapes records the graph, the second compares it with the module on inputs of its own;
    where they differ, the module is not a fixed sequence of operations, and all calls go to the module itself. May be
    called from several threads.

    Args:
        module: takes tensors and returns one; the graphs share its weights.

    >>> doubled = TracedModule(nn.Upsample(scale_factor=2))
    >>> [doubled(torch.full((1, 1, 1), number)).tolist() for number in (1.0, 2.0, 3.0)]
    [[[[1.0, 1.0]]], [[[2.0, 2.0]]], [[[3.0, 3.0]]]]
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._recorded: dict[Shapes, Callable[..., Tensor]] = {}
        self._compared: dict[Shapes, Callable[..., Tensor]] = {}
        self._lock = threading.Lock()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return ``module(*inputs)``."""
        shapes = tuple((each.shape, each.dtype) for each in inputs)
        graph = self._compared.get(shapes)
        return self._first_results(shapes, inputs) if graph is None else graph(*inputs)

    def _first_results(self, shapes: Shapes, inputs: tuple[Tensor, ...]) -> Tensor:
        with self._lock:
            result: Tensor = self.module(*inputs)
            if shapes not in self._recorded:
                self._recorded[shapes] = _record(self.module, inputs)
            elif shapes not in self._compared:
                is_equal = torch.equal(self._recorded[shapes](*inputs), result)
                self._compared[shapes] = self._recorded[shapes] if is_equal else self.module
                if not is_equal:
                    logger.warning("the recorded graph gives other values than the model: going on without it")
            return result


def _record(module: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """Record the graph with the weights among its inputs: as constants they would never be freed."""
    places = [(layer, name) for layer in module.modules() for name, _ in layer.named_parameters(recurse=False)]
    weights = [layer.get_parameter(name) for layer, name in places]

    def with_weights(*tensors: Tensor) -> Tensor:
        _put(tensors[len(inputs) :], places)
        try:
            result: Tensor = module(*tensors[: len(inputs)])
        finally:
            _put(weights, places)
        return result

    with warnings.catch_warnings():
        # a deprecation without a successor that leaves the interpreter free, and shapes that become constants
        warnings.simplefilter("ignore")
        graph = torch.jit.trace(with_weights, (*inputs, *weights), check_trace=False)
    return partial(_run, graph, weights)


def _put(weights: Sequence[Tensor], places: Sequence[tuple[nn.Module, str]]) -> None:
    for weight, (layer, name) in zip(weights, places, strict=True):
        layer._parameters[name] = weight  # type: ignore[assignment]  # setattr takes nothing but parameters


def _run(graph: Callable[..., Tensor], weights: Sequence[Tensor], *inputs: Tensor) -> Tensor:
    # optimising passes fuse operations, which changes last digits; the switch is each thread's own
    with torch.jit.optimized_execution(False):
        return graph(*inputs, *weights)


class DenoisingInferer(Inferer):
    """Encodes the prompt that is the concept's token alone, once for the whole batch, and predicts.

    Args:
        model: the frozen base model; gradients reach the rows alone.
        is_traced: run as a recorded graph (``TracedModule``), with the same values and gradients. None: on a CPU,
            where concepts have threads of their own, unless blocks are recomputed for less memory.
    """

    def __init__(self, model: "FrozenLatentDiffusion", is_traced: bool | None = None) -> None:
        super().__init__()
        self.model = model
        if is_traced is None:
            is_traced = model.device.type == "cpu" and not model.unet.is_gradient_checkpointing and can_trace()
        self._predict = TracedModule(model) if is_traced else model

    def __call__(self, inputs: Tensor, network: ConceptEmbedding, timesteps: Tensor) -> Tensor:  # type: ignore[override]
        """Return the prediction (B, C, h, w) for noisy latents (B, C, h, w) at timesteps (B,)."""
        return self._predict(inputs, timesteps, network.rows)
