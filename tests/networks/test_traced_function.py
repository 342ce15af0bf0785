# SPDX-License-Identifier: Apache-2.0
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from medti_components.errors import EmbeddingError
from medti_components.networks.traced_function import TracedFunction, can_trace

pytestmark = pytest.mark.skipif(not can_trace(), reason="PyTorch has no TorchScript for this Python")


class Counted:
    """A small network that counts how often Python runs it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3)).requires_grad_(False)
        self.num_calls = 0

    def __call__(self, values: Tensor, scale: Tensor) -> Tensor:
        self.num_calls += 1
        return torch.softmax(self.layers(values) * scale, dim=-1)


def result_and_gradient(function: object, seed: int, num_rows: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(num_rows, 6, generator=generator).requires_grad_()
    result = function(values, torch.rand((), generator=generator))  # type: ignore[operator]
    result.square().sum().backward()
    return result.detach(), values.grad


def test_results_and_gradients_are_the_functions_own_to_the_bit() -> None:
    function = Counted()
    traced = TracedFunction(function)

    for seed in range(5):
        for own, other in zip(result_and_gradient(function, seed), result_and_gradient(traced, seed), strict=True):
            assert torch.equal(own, other)


def test_python_runs_the_function_for_the_first_two_calls_of_a_shape_alone() -> None:
    function = Counted()
    traced = TracedFunction(function)
    counts = []
    for num_rows in (4, 4, 4, 4, 2, 2, 2, 4):
        result_and_gradient(traced, seed=len(counts), num_rows=num_rows)
        counts.append(function.num_calls)

    # called and recorded, compared, and then no more
    assert counts == [2, 3, 3, 3, 5, 6, 6, 6]


def test_a_function_that_branches_on_its_input_is_called_itself(caplog: pytest.LogCaptureFixture) -> None:
    traced = TracedFunction(lambda values: values * 2 if values.sum() > 0 else values * 3)

    with caplog.at_level(logging.WARNING):
        results = [traced(torch.tensor([number])).item() for number in (1.0, -1.0, 1.0, -1.0)]

    assert results == [2.0, -3.0, 2.0, -3.0]
    assert len(caplog.records) == 1
    assert "going on without it" in caplog.text


def test_precisions_are_recorded_apart() -> None:
    traced = TracedFunction(lambda values: values / 3)

    for dtype in (torch.float32, torch.float64, torch.float32, torch.float64, torch.float32, torch.float64):
        assert traced(torch.ones(1, dtype=dtype)).dtype == dtype


def test_threads_may_make_the_first_calls_together() -> None:
    function = Counted()
    traced = TracedFunction(function)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda seed: result_and_gradient(traced, seed), range(32)))

    for seed, (result, gradient) in enumerate(found):
        expected = result_and_gradient(Counted(), seed)
        assert torch.equal(result, expected[0])
        assert torch.equal(gradient, expected[1])


def test_errors_of_the_function_come_through_as_they_are() -> None:
    def fails(values: Tensor) -> Tensor:
        raise EmbeddingError(f"{len(values)} rows are too many")

    with pytest.raises(EmbeddingError, match="3 rows are too many"):
        TracedFunction(fails)(torch.zeros(3))


def test_calling_records_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    traced = TracedFunction(lambda values: values[: values.shape[0] // 2] + 1)

    for _ in range(3):
        traced(torch.ones(4))

    assert not recwarn.list
