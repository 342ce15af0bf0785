# SPDX-License-Identifier: Apache-2.0
"""What MONAI's SupervisedTrainer does in one step of textual inversion (Gal et al., 2022, arXiv:2208.01618)."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import Tensor

from medti_components.errors import ConfigError
from medti_components.networks.concept_embedding import ConceptEmbedding

Item = TypeVar("Item")
Result = TypeVar("Result")


class TextualInversion:
    """One optimiser step for every concept; the trainer's ``iteration_update``.

    The trainer's parts: ``network`` is a ``ConceptEmbeddings``, ``prepare_batch`` a ``DenoisingBatches``, ``inferer`` a
    ``DenoisingInferer``, ``loss_function`` a ``DenoisingLoss``. Each concept has a backward pass of its own, so that on
    a GPU one concept's activations are freed before the next one's are made, on a CPU each has a core of its own, and a
    joint run gives what separate runs give.

    Args:
        accumulation_steps: backward passes per concept and optimiser step.
        max_gradient_norm: each concept's gradient is scaled down to this 2-norm; None leaves it alone.

    Raises:
        ConfigError: max_gradient_norm is not positive.
    """

    def __init__(self, accumulation_steps: int = 1, max_gradient_norm: float | None = None) -> None:
        if max_gradient_norm is not None and not max_gradient_norm > 0:
            raise ConfigError(f"max_gradient_norm must be positive or null, got {max_gradient_norm}")
        self.accumulation_steps = accumulation_steps
        self.max_gradient_norm = max_gradient_norm
        self._threads: ConceptThreads | None = None

    def __call__(self, engine: SupervisedTrainer, batchdata: Any) -> dict[str, Tensor]:
        """Do step ``engine.state.iteration`` (from 1); return {"loss": float32 (num_concepts,)} on the device."""
        if self._threads is None:
            self._threads = ConceptThreads(engine.state.device)
        # the whole step: after an operation on all cores, OpenMP's threads spin on the concepts' cores for milliseconds
        with single_threaded_operations():
            return self._step(engine, self._threads)

    def _step(self, engine: SupervisedTrainer, threads: "ConceptThreads") -> dict[str, Tensor]:
        scaler = engine.scaler
        engine.optimizer.zero_grad(set_to_none=True)
        losses = threads.map(lambda embedding: self._backward(engine, embedding), engine.network)  # type: ignore[arg-type]
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if self.max_gradient_norm is not None:
            if scaler is not None:
                scaler.unscale_(engine.optimizer)
            for embedding in engine.network:  # type: ignore[attr-defined]
                torch.nn.utils.clip_grad_norm_(embedding.rows, self.max_gradient_norm)
        if scaler is None:
            engine.optimizer.step()
        else:
            scaler.step(engine.optimizer)
            scaler.update()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return {"loss": torch.stack(losses)}

    def _backward(self, engine: SupervisedTrainer, embedding: ConceptEmbedding) -> Tensor:
        """Leave the gradient of one concept's loss in its rows and return the loss."""
        step = engine.state.iteration - 1
        batch = engine.prepare_batch((embedding.token, step), engine.state.device, engine.non_blocking)
        losses = []
        for part in batch.split(self.accumulation_steps):
            prediction = engine.inferer(part.noisy_latents, embedding, part.timesteps)
            loss = engine.loss_function(prediction, part.target) / self.accumulation_steps
            (loss if engine.scaler is None else engine.scaler.scale(loss)).backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()


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


@contextmanager
def single_threaded_operations() -> Iterator[None]:
    """Let each of torch's operations use one core, and put the number back afterwards."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
