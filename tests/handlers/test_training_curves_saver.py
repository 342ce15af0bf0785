# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from PIL import Image

from medti_components.engines.training_history import TrainingHistory
from medti_components.handlers.training_curves_saver import TrainingCurvesSaver


def test_one_panel_is_drawn_per_quantity(tmp_path: Path) -> None:
    history = TrainingHistory()
    widths = []
    for quantity in ("training_loss", "held_out_loss", "row_norm"):
        for step in range(10):
            history.add(quantity, "<a>", step, 1 / (step + 1))
        history.references = {"empty prompt": {"<a>": 0.5}}
        TrainingCurvesSaver(history, tmp_path)()
        widths.append(Image.open(tmp_path / "training_curves.png").width)

    assert widths == [600, 1200, 1800]  # 5 inches at 120 dots an inch each


def test_nothing_measured_draws_nothing(tmp_path: Path) -> None:
    TrainingCurvesSaver(TrainingHistory(), tmp_path)()

    assert list(tmp_path.iterdir()) == []
