# SPDX-License-Identifier: Apache-2.0
import gc
import logging
import sys
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_run import build_run, final_rows

from medti_components.errors import EmbeddingError
from medti_components.inferers.denoising_inferer import DenoisingInferer, TracedModule, can_trace
from medti_components.networks.concept_embedding import ConceptEmbedding
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

pytestmark = pytest.mark.skipif(not can_trace(), reason="PyTorch has no TorchScript for this Python")


class Counted(nn.Module):
    """A small network that counts how often Python runs it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3))
        self.requires_grad_(False)
        self.num_calls = 0

    def forward(self, values: Tensor, scale: Tensor) -> Tensor:
        self.num_calls += 1
        return torch.softmax(self.layers(values) * scale, dim=-1)


class Applied(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: Tensor) -> Tensor:
        return self.function(values)


def result_and_gradient(module: nn.Module | TracedModule, seed: int, num_rows: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(num_rows, 6, generator=generator).requires_grad_()
    result = module(values, torch.rand((), generator=generator))
    result.square().sum().backward()
    return result.detach(), values.grad


def test_results_and_gradients_are_the_modules_own_to_the_bit() -> None:
    module = Counted()
    traced = TracedModule(module)

    for seed in range(5):
        for own, other in zip(result_and_gradient(module, seed), result_and_gradient(traced, seed), strict=True):
            assert torch.equal(own, other)


def test_python_runs_the_module_for_the_first_two_calls_of_a_shape_alone() -> None:
    module = Counted()
    traced = TracedModule(module)
    counts = []
    for num_rows in (4, 4, 4, 4, 2, 2, 2, 4):
        result_and_gradient(traced, seed=len(counts), num_rows=num_rows)
        counts.append(module.num_calls)

    # called and recorded, compared, and then no more
    assert counts == [2, 3, 3, 3, 5, 6, 6, 6]


def test_a_module_that_branches_on_its_input_is_called_itself(caplog: pytest.LogCaptureFixture) -> None:
    traced = TracedModule(Applied(lambda values: values * 2 if values.sum() > 0 else values * 3))

    with caplog.at_level(logging.WARNING):
        results = [traced(torch.tensor([number])).item() for number in (1.0, -1.0, 1.0, -1.0)]

    assert results == [2.0, -3.0, 2.0, -3.0]
    assert len(caplog.records) == 1
    assert "going on without it" in caplog.text


def test_precisions_are_recorded_apart() -> None:
    traced = TracedModule(Applied(lambda values: values / 3))

    for dtype in (torch.float32, torch.float64, torch.float32, torch.float64, torch.float32, torch.float64):
        assert traced(torch.ones(1, dtype=dtype)).dtype == dtype


def test_threads_may_make_the_first_calls_together() -> None:
    module = Counted()
    traced = TracedModule(module)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda seed: result_and_gradient(traced, seed), range(32)))

    for seed, (result, gradient) in enumerate(found):
        expected = result_and_gradient(Counted(), seed)
        assert torch.equal(result, expected[0])
        assert torch.equal(gradient, expected[1])


def test_errors_of_the_module_come_through_as_they_are() -> None:
    def fails(values: Tensor) -> Tensor:
        raise EmbeddingError(f"{len(values)} rows are too many")

    with pytest.raises(EmbeddingError, match="3 rows are too many"):
        TracedModule(Applied(fails))(torch.zeros(3))


def test_calling_records_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    traced = TracedModule(Applied(lambda values: values[: values.shape[0] // 2] + 1))

    for _ in range(3):
        traced(torch.ones(4))

    assert not recwarn.list


def test_weights_are_freed_with_the_module() -> None:
    weights = np.ones((3, 6), dtype=np.float32)
    freed = weakref.ref(weights)
    module = nn.Linear(6, 3, bias=False)
    module.weight = nn.Parameter(torch.from_numpy(weights), requires_grad=False)
    traced = TracedModule(module)
    for _ in range(3):
        traced(torch.ones(1, 6))
    assert freed() is not None

    del weights, module, traced
    gc.collect()

    assert freed() is None


def prediction_and_gradient(inferer: DenoisingInferer, batch_size: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embedding = ConceptEmbedding("<nodule>", torch.randn(2, inferer.model.width, generator=generator))
    latents = torch.randn(batch_size, *inferer.model.latent_shape, generator=generator)
    timesteps = torch.randint(1000, (batch_size,), generator=generator)
    prediction = inferer(latents, embedding, timesteps)
    prediction.square().mean().backward()
    return prediction.detach(), embedding.rows.grad


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_recorded_graph_gives_the_models_predictions_and_gradients_to_the_bit(
    micro_model: FrozenLatentDiffusion, batch_size: int
) -> None:
    traced, plain = (DenoisingInferer(micro_model, is_traced=is_traced) for is_traced in (True, False))

    for seed in range(4):
        expected = prediction_and_gradient(plain, batch_size, seed)
        for own, other in zip(expected, prediction_and_gradient(traced, batch_size, seed), strict=True):
            assert torch.equal(own, other)
        assert expected[1].abs().max() > 0


@pytest.mark.parametrize("settings", [{}, {"attention_slicing": True}, {"dtype": "bfloat16"}])
def test_a_run_learns_the_same_rows_with_and_without_a_graph(
    micro_base: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base), **settings)  # type: ignore[arg-type]
    rows = []
    for is_traced in (True, False):
        trainer = build_run(model, tmp_path / str(is_traced), max_steps=6, accumulation_steps=2)
        trainer.inferer = DenoisingInferer(model, is_traced)
        trainer.run()
        rows.append(final_rows(trainer))

    assert rows[0].keys() == rows[1].keys()
    assert all(torch.equal(rows[0][token], rows[1][token]) for token in rows[0])


@pytest.mark.parametrize(
    ("version", "gradient_checkpointing", "is_python_needed"),
    [((3, 13), False, False), ((3, 14), False, True), ((3, 13), True, True)],
)
def test_python_runs_each_step_only_where_a_graph_is_of_no_use(
    micro_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: tuple[int, int],
    gradient_checkpointing: bool,
    is_python_needed: bool,
) -> None:
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base), gradient_checkpointing=gradient_checkpointing)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version_info", version)
        inferer = DenoisingInferer(model)
    calls = []
    model.unet.register_forward_hook(lambda *_: calls.append(1))
    for seed in range(6):
        prediction_and_gradient(inferer, 1, seed)

    assert (len(calls) == 6) is is_python_needed
