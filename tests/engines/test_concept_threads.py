# SPDX-License-Identifier: Apache-2.0
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training_run import CONCEPTS, build_run, final_rows

from medti_components.engines.textual_inversion import ConceptThreads, single_threaded_operations
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


@pytest.fixture
def two_cores() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(num_threads)


def test_two_concepts_run_side_by_side_on_two_cores(two_cores: None) -> None:
    meeting = threading.Barrier(2)  # is passed only when both are under way

    names = ConceptThreads("cpu").map(lambda _: (meeting.wait(10), threading.current_thread().name)[1], range(2))

    assert len(set(names)) == 2


def test_each_operation_has_one_core_while_concepts_run(two_cores: None) -> None:
    assert ConceptThreads("cpu").map(lambda _: torch.get_num_threads(), range(3)) == [1, 1, 1]
    assert torch.get_num_threads() == 2


def test_the_number_of_cores_is_put_back_after_an_error(two_cores: None) -> None:
    with pytest.raises(KeyError), single_threaded_operations():
        raise KeyError

    assert torch.get_num_threads() == 2


def test_an_exception_of_any_concept_is_raised(two_cores: None) -> None:
    def fail_on_one(number: int) -> int:
        return number // (number - 1)

    with pytest.raises(ZeroDivisionError):
        ConceptThreads("cpu").map(fail_on_one, range(3))


def test_on_a_gpu_concepts_take_turns_in_the_calling_thread() -> None:
    names = ConceptThreads("cuda").map(lambda _: threading.current_thread().name, range(2))

    assert set(names) == {threading.current_thread().name}


def test_rows_do_not_depend_on_the_number_of_cores(
    micro_model: FrozenLatentDiffusion, tmp_path: Path, two_cores: None
) -> None:
    rows = []
    for num_threads in (1, 2):
        torch.set_num_threads(num_threads)
        trainer = build_run(micro_model, tmp_path / str(num_threads), validation_interval=0, max_steps=10)
        trainer.run()
        rows.append(final_rows(trainer))

    assert all(torch.equal(rows[0][token], rows[1][token]) for token in CONCEPTS)
