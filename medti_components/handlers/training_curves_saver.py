# SPDX-License-Identifier: Apache-2.0
"""Draws a run's losses and row norms."""

from pathlib import Path

from ignite.engine import Engine, Events
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medti_components.engines.training_history import TrainingHistory
from medti_components.files import write_atomically
from medti_components.networks.embedding_files.embedding_file import concept_name

PANELS = {
    "training_loss": "training loss",
    "held_out_loss": "held-out loss",
    "row_norm": "mean row norm",
    "validation_auc": "validation AUC",
}
SMOOTHING = 25  # points


class TrainingCurvesSaver:
    """Writes ``training_curves.png`` at the end of a run.

    Args:
        history: the series to draw.
        output_dir: the run's folder.
    """

    def __init__(self, history: TrainingHistory, output_dir: str | Path) -> None:
        self.history = history
        self.path = Path(output_dir) / "training_curves.png"

    def attach(self, engine: Engine) -> None:
        """Draw when ``engine`` completes, if there is anything to draw."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine | None = None) -> None:
        """Draw one panel per quantity, one line per concept."""
        panels = [name for name in PANELS if self.history.series.get(name)]
        if not panels:
            return
        figure = Figure(figsize=(5 * len(panels), 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for index, token in enumerate(self.history.series[name]):
                points = self.history.points(name, token)
                steps = [step for step, _ in points]
                values = [value for _, value in points]
                colour = f"C{index}"
                if name == "training_loss":
                    axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
                    values = _running_mean(values, SMOOTHING)
                axes.plot(
                    steps, values, color=colour, label=concept_name(token), marker="." if len(steps) < 3 else None
                )
                if name == "held_out_loss" and token in self.history.references.get("empty prompt", {}):
                    empty = self.history.references["empty prompt"][token]
                    axes.axhline(empty, color=colour, linestyle=":", label=f"{concept_name(token)}, empty prompt")
            axes.set_xlabel("step")
            axes.set_title(PANELS[name])
            axes.legend(fontsize="x-small")
        with write_atomically(self.path) as path:
            figure.savefig(path, dpi=120)


def _running_mean(values: list[float], width: int) -> list[float]:
    """Mean of the last ``width`` values at each point.

    >>> _running_mean([1.0, 3.0, 5.0], 2)
    [1.0, 2.0, 4.0]
    """
    means = []
    for end in range(1, len(values) + 1):
        window = values[max(0, end - width) : end]
        means.append(sum(window) / len(window))
    return means
