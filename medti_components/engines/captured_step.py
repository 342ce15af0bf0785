# SPDX-License-Identifier: Apache-2.0
"""A training step as one CUDA graph: a small network waits for kernel launches most of its time."""

from collections.abc import Callable

import torch
from torch import Tensor

from medti_components.errors import ConfigError

NUM_WARM_UP_STEPS = 3


class CapturedStep:
    """Does a training step; records it as a CUDA graph at the fourth call and replays it from then on.

    The first calls run as they are, on a stream of their own, as ``torch.cuda.graph`` asks. Each call is one step.

    Args:
        step: forward, backward and optimiser step of a batch; returns the loss. Nothing in it may wait for the GPU or
            depend on values in Python. Gradients have to be set to None in it.
        optimizer: what the step steps; made capturable, its learning rates become tensors, in place.
        device: a CUDA device.

    Raises:
        ConfigError: the device is no CUDA device.
    """

    def __init__(
        self, step: Callable[[dict[str, Tensor]], Tensor], optimizer: torch.optim.Optimizer, device: torch.device
    ) -> None:
        if device.type != "cuda":
            raise ConfigError(f"capture needs a CUDA device, got '{device}': set capture to false")
        self.step = step
        self.stream = torch.cuda.Stream(device)
        self.num_calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: dict[str, Tensor] = {}
        self.loss = torch.empty(0)
        for group in optimizer.param_groups:
            group["capturable"] = True
            group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=device)

    def __call__(self, batch: dict[str, Tensor]) -> Tensor:
        """Do one step on ``batch``, whose tensors have the same shapes each time; return the loss, a scalar."""
        self.num_calls += 1
        if self.num_calls <= NUM_WARM_UP_STEPS:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                loss = self.step(batch)
            torch.cuda.current_stream().wait_stream(self.stream)
            return loss
        if self.graph is None:
            self.inputs = {name: value.clone() for name, value in batch.items()}
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.loss = self.step(self.inputs)
        for name, value in batch.items():
            self.inputs[name].copy_(value)
        self.graph.replay()
        return self.loss.clone()
