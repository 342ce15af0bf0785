# SPDX-License-Identifier: Apache-2.0
"""Collects what a classifier says of each case and writes it as a table."""

import logging
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from tqdm import tqdm

from medti_components.data.classification.classified_cases import PROBABILITIES_FILE, ClassifiedCases

logger = logging.getLogger(__name__)


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
        self.show_progress = show_progress
        self._bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Collect after each batch of ``engine``, write at its end."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.save)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def collect(self, engine: Any) -> None:
        """Take the batch that has just been done."""
        self.cases.add(engine.state.batch, engine.state.output["pred"])
        if self._bar is not None:
            self._bar.update()

    def save(self, engine: Any = None) -> None:
        """Write the table."""
        self._close()
        self.cases.write_table(self.output_dir)
        logger.info("probabilities of %d cases: %s", len(self.cases), self.output_dir / PROBABILITIES_FILE)

    def _open(self, engine: Any) -> None:
        self._bar = tqdm(total=engine.state.epoch_length, desc="classifying", disable=not self.show_progress)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _fail(self, engine: Any, error: BaseException) -> None:
        self._close()
        raise error
