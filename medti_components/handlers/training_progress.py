# SPDX-License-Identifier: Apache-2.0
"""Progress of a training run on stderr."""

from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from tqdm import tqdm

from medti_components.engines.training_events import RUN_CLOSING
from medti_components.networks.concept_embedding import concept_name


class TrainingProgress:
    """A bar with the step, the time left and each concept's loss; a resumed run's starts where it resumes.

    Args:
        show_progress: False keeps it silent.
    """

    def __init__(self, show_progress: bool = True) -> None:
        self.show_progress = show_progress
        self._bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Follow ``engine`` from its start to its end, whatever ends it."""
        if not self.show_progress:
            return
        engine.add_event_handler(Events.EPOCH_STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(RUN_CLOSING, self.close)

    def __call__(self, engine: Engine) -> None:
        """Advance by one step."""
        if self._bar is None:
            return
        metrics = {key: value for key, value in engine.state.metrics.items() if key.startswith("loss ")}
        if metrics:
            names = {key: concept_name(key.removeprefix("loss ")) for key in metrics}
            shared = _shared_prefix(list(names.values()))
            shown = {names[key][len(shared) :] or names[key]: f"{value:.4f}" for key, value in metrics.items()}
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update(engine.state.iteration - self._bar.n)

    def close(self, engine: Engine | None = None) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _open(self, engine: Engine) -> None:
        self.close()
        state = engine.state
        total = (state.epoch_length or 0) * (state.max_epochs or 1)
        self._bar = tqdm(total=total, initial=state.iteration, desc="training", unit="step", dynamic_ncols=True)


def _shared_prefix(names: list[str]) -> str:
    """Return what all names begin with, up to the last underscore, to keep the bar short.

    >>> _shared_prefix(["prostate_mri_negative", "prostate_mri_positive"])
    'prostate_mri_'
    >>> _shared_prefix(["nodule"])
    ''
    """
    if len(names) < 2:
        return ""
    first, last = min(names), max(names)
    length = next(
        (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )
    return first[: first.rfind("_", 0, length) + 1]


class EpochProgressBar:
    """Ignite's progress bar on stderr, one step an epoch; a bar an epoch would scroll away in a short training.

    Args:
        description: text left of the bar.
        show_progress: whether there is a bar at all.
    """

    def __init__(self, description: str, show_progress: bool = True) -> None:
        self.description = description
        self.show_progress = show_progress

    def attach(self, engine: Engine) -> None:
        """Show the epochs of ``engine``."""
        if self.show_progress:
            bar = ProgressBar(persist=True, desc=self.description)
            bar.attach(engine, event_name=Events.EPOCH_COMPLETED, closing_event_name=Events.COMPLETED)
