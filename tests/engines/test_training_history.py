# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

from medti_components.engines.training_history import TrainingHistory


def test_a_value_at_the_same_step_is_replaced() -> None:
    history = TrainingHistory()
    history.add("row_norm", "<a>", 1, 1.0)
    history.add("row_norm", "<a>", 1, 2.0)

    assert history.points("row_norm", "<a>") == [(1, 2.0)]


def test_what_was_not_measured_is_empty() -> None:
    history = TrainingHistory()

    assert history.points("row_norm", "<a>") == []
    assert history.latest("row_norm", "<a>") is None


def test_state_survives_json_bit_by_bit() -> None:
    history, restored = TrainingHistory(), TrainingHistory()
    history.add("training_loss", "<a>", 3, 0.1 + 0.2)
    history.references = {"empty prompt": {"<a>": 1 / 3}}

    restored.load_state_dict(json.loads(json.dumps(history.state_dict())))

    assert restored.state_dict() == history.state_dict()


def test_held_out_losses_are_written_as_json_and_csv(tmp_path: Path) -> None:
    history = TrainingHistory()
    history.references = {"empty prompt": {"<a>": 0.5, "<b>": 0.75}}
    for step, token, loss in [(0, "<b>", 0.875), (0, "<a>", 0.625), (10, "<a>", 0.25)]:
        history.add("held_out_loss", token, step, loss)

    history.write_held_out_loss(tmp_path)

    assert json.loads((tmp_path / "held_out_loss.json").read_text()) == {
        "references": {"empty prompt": {"<a>": 0.5, "<b>": 0.75}},
        "held_out_loss": {"<b>": [[0, 0.875]], "<a>": [[0, 0.625], [10, 0.25]]},
    }
    assert (tmp_path / "held_out_loss.csv").read_text() == (
        "step,concept,held_out_loss\n0,<a>,0.625\n0,<b>,0.875\n10,<a>,0.25\n"
    )
