# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from training_run import CONCEPTS, build_run, final_rows

from medti_components.engines.run_folder import checkpoint_paths, checkpoint_step
from medti_components.engines.training_history import TrainingHistory
from medti_components.errors import TrainingError
from medti_components.handlers.loss_monitor import LossMonitor
from medti_components.networks.concept_embedding import ConceptEmbedding, ConceptEmbeddings
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


class Writer:
    def __init__(self) -> None:
        self.scalars: dict[tuple[str, int], float] = {}

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars[name, step] = value


def engine_with_losses(losses: list[tuple[float, float]]) -> Engine:
    engine = Engine(lambda engine, batch: {"loss": torch.tensor(losses[engine.state.iteration - 1])})
    engine.network = ConceptEmbeddings([ConceptEmbedding(token, torch.full((2, 4), 0.5)) for token in CONCEPTS])
    engine.optimizer = torch.optim.SGD(engine.network.parameters(), lr=0.25)
    return engine


def test_mean_losses_norms_and_rate_are_recorded_at_each_look() -> None:
    engine, history, writer = engine_with_losses([(1, 10), (2, 20), (3, 30), (4, 40)]), TrainingHistory(), Writer()
    LossMonitor(history, interval=3, summary_writer=writer).attach(engine)  # type: ignore[arg-type]
    engine.run(range(4), max_epochs=1)

    assert history.points("training_loss", CONCEPTS[0]) == [(3, 2.0), (4, 4.0)]
    assert history.points("training_loss", CONCEPTS[1]) == [(3, 20.0), (4, 40.0)]
    assert history.points("row_norm", CONCEPTS[0]) == [(3, 1.0), (4, 1.0)]  # sqrt(4 * 0.5^2)
    assert writer.scalars[f"training_loss/{CONCEPTS[1]}", 3] == 20.0
    assert writer.scalars["learning_rate", 4] == 0.25
    assert engine.state.metrics == {f"loss {CONCEPTS[0]}": 4.0, f"loss {CONCEPTS[1]}": 40.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_naming_step_and_concept(value: float) -> None:
    engine = engine_with_losses([(1, 1), (1, value), (1, 1), (1, 1)])
    LossMonitor(TrainingHistory(), interval=4).attach(engine)

    with pytest.raises(TrainingError) as raised:
        engine.run(range(4), max_epochs=1)

    assert str(raised.value) == (
        f"loss of '{CONCEPTS[1]}' is {value} in step 2: lower --learning_rate, or set --dtype float32, "
        "and begin anew, without --resume"
    )


def test_the_last_good_checkpoint_is_kept_when_the_loss_diverges(
    micro_model: FrozenLatentDiffusion, tmp_path: Path
) -> None:
    trainer = build_run(micro_model, tmp_path, max_steps=6)
    loss_function = trainer.loss_function

    def diverging(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return loss_function(prediction, target) * (float("nan") if trainer.state.iteration == 3 else 1.0)

    trainer.loss_function = diverging
    with pytest.raises(TrainingError, match=f"loss of '{CONCEPTS[0]}' is nan in step 3"):
        trainer.run()

    assert [checkpoint_step(path) for path in checkpoint_paths(tmp_path / "checkpoints")] == [2]
    assert not (tmp_path / "embeddings").exists()
    assert all(not torch.isfinite(rows).all() for rows in final_rows(trainer).values())
