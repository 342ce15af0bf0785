# SPDX-License-Identifier: Apache-2.0
"""Saves a classifier: the weights with the best validation AUC, and what it says of each case."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ignite.engine import Engine, Events

from medti_components.data.classification.classified_cases import PROBABILITIES_FILE, ClassifiedCases
from medti_components.data.classification.classifier_images import ClassifierImages
from medti_components.data.generated.provenance import software_versions
from medti_components.engines.training_history import TrainingHistory
from medti_components.files import write_csv_atomically
from medti_components.handlers.loss_monitor import LOSSES_WANTED, SERIES
from medti_components.handlers.progress_bar import ProgressBar
from medti_components.networks.image_classifier import save_classifier

if TYPE_CHECKING:
    from monai.engines import Evaluator
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

CLASSIFIER_FILE = "classifier.safetensors"
VALIDATION_FILE = "validation.csv"


class BestClassifierSaver:
    """Runs the evaluator at intervals and at the end; whenever the AUC is the best so far, writes the weights.

    In ``output_dir``: ``classifier.safetensors``, ``cases.csv`` (what it learned from and was chosen by) and
    ``validation.csv`` (batch, AUC). Of equal AUCs the first counts.

    Args:
        evaluator: MONAI's SupervisedEvaluator with the key metric ``auc``.
        history: takes "validation_auc".
        images: what the classifier learns from.
        output_dir: the run's folder.
        interval: batches between two validations; 0 validates at the end alone.
        settings: what a run that loads the file must have too.
        facts: recorded in the file unchanged.
        summary_writer: TensorBoard's, or None.
    """

    def __init__(
        self,
        evaluator: "Evaluator",
        history: TrainingHistory,
        images: ClassifierImages,
        output_dir: str | Path,
        interval: int,
        settings: Mapping[str, Any],
        facts: Mapping[str, Any] | None = None,
        summary_writer: "SummaryWriter | None" = None,
    ) -> None:
        self.evaluator = evaluator
        self.history = history
        self.images = images
        self.output_dir = Path(output_dir)
        self.interval = interval
        self.settings = dict(settings)
        self.facts = dict(facts or {})
        self.summary_writer = summary_writer

    def attach(self, engine: Engine) -> None:
        """Validate while ``engine`` runs and at its end."""
        engine.register_events(LOSSES_WANTED)
        if self.interval > 0:
            engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    @property
    def best(self) -> tuple[int, float] | None:
        """Batch and AUC of the best validation so far whose weights are on disk, or None."""
        if not (self.output_dir / CLASSIFIER_FILE).is_file():
            return None
        points = self.history.points("validation_auc", SERIES)
        return max(points, key=lambda point: (point[1], -point[0]), default=None)

    def __call__(self, engine: Any) -> None:
        """Validate now."""
        engine.fire_event(LOSSES_WANTED)
        step = engine.state.iteration
        self.evaluator.run()
        auc = float(self.evaluator.state.metrics["auc"])
        best = self.best
        if best is None or auc > best[1]:
            facts = {**self.facts, "batches": step, "validation_auc": auc, "versions": software_versions()}
            self.images.write_table(self.output_dir)
            save_classifier(self.output_dir / CLASSIFIER_FILE, engine.network, self.settings, facts)
        self.history.add("validation_auc", SERIES, step, auc)
        if self.summary_writer is not None:
            self.summary_writer.add_scalar("validation_auc", auc, step)
        points = self.history.points("validation_auc", SERIES)
        write_csv_atomically(self.output_dir / VALIDATION_FILE, ("batch", "auc"), points)

    def finish(self, engine: Any) -> None:
        """Validate the last weights, unless that is done, and say which are kept."""
        latest = self.history.latest("validation_auc", SERIES)
        if latest is None or latest[0] != engine.state.iteration or self.best is None:
            self(engine)
        step, auc = self.best or (0, float("nan"))
        logger.info("best validation AUC: %.4f after %d batches, %s", auc, step, self.output_dir / CLASSIFIER_FILE)


class ProbabilitySaver:
    """Collects the logits of each batch in ``cases`` and writes ``probabilities.csv`` at the end.

    Args:
        cases: empty at first; batches bring study_id and patient_id, and the concept where it is known.
        output_dir: the run's folder.
        show_progress: whether a bar with the time left goes to stderr.
    """

    def __init__(self, cases: ClassifiedCases, output_dir: str | Path, show_progress: bool = True) -> None:
        self.cases = cases
        self.output_dir = Path(output_dir)
        self.progress_bar = ProgressBar("classifying", show_progress, unit="batch")

    def attach(self, engine: Engine) -> None:
        """Collect after each batch of ``engine``, write at its end."""
        self.progress_bar.attach(engine)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.save)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def collect(self, engine: Any) -> None:
        """Take the batch that has just been done."""
        self.cases.add(engine.state.batch, engine.state.output["pred"])

    def save(self, engine: Any = None) -> None:
        """Write the table."""
        self.progress_bar.close()
        self.cases.write_table(self.output_dir)
        logger.info("probabilities of %d cases: %s", len(self.cases), self.output_dir / PROBABILITIES_FILE)

    def _fail(self, engine: Any, error: BaseException) -> None:
        self.progress_bar.close()
        raise error
