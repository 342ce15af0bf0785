# SPDX-License-Identifier: Apache-2.0
"""Hold generated images against a folder of real pictures, where the data set that they are of is not at hand."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from medti_components.data.generated.provenance import software_versions
from medti_components.errors import ConfigError, DataError
from medti_components.evaluation.evaluation_output import run_parts, write_figures
from medti_components.evaluation.evaluation_part import EvaluatedImages, EvaluationPart
from medti_components.visualize.report_page import FURTHER_SECTIONS, report_page, settings_table

logger = logging.getLogger(__name__)

Images = Dataset[dict[str, Any]]


def check_data_set(dataset_dir: str | Path) -> None:
    """Check that the data set of an evaluation is at hand: the first step of ``evaluating``.

    Raises:
        DataError: it is not, which leaves ``comparing``.

    >>> check_data_set("data/no_such")
    Traceback (most recent call last):
    ...
    medti_components.errors.DataError: dataset_dir 'data/no_such' does not exist: set --dataset_dir to the data set, or
    measure without it by the run id comparing, on --reference_dir, a folder of real pictures
    """
    if not Path(dataset_dir).is_dir():
        raise DataError(
            f"dataset_dir '{dataset_dir}' does not exist: set --dataset_dir to the data set, or measure without it by "
            "the run id comparing, on --reference_dir, a folder of real pictures"
        )


class ImageComparison:
    """What can be measured without training a classifier, written as ``metrics.json`` and ``report.html``.

    Args:
        generated: images of the embedding.
        reference: real pictures.
        concepts: tokens of the concepts.
        output_dir: folder for the two files.
        parts: what is measured, in the order of the report.
        settings: recorded in ``metrics.json`` as they are.

    Raises:
        ConfigError: there is nothing to compare.
    """

    def __init__(
        self,
        generated: Images | None,
        reference: Images | None,
        concepts: Sequence[str],
        output_dir: str | Path,
        parts: Sequence[EvaluationPart],
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if generated is None or reference is None:
            name = "generated_dir" if generated is None else "reference_dir"
            raise ConfigError(f"comparing needs {name}, got null: set --{name} to a folder of pictures")
        self.images = EvaluatedImages(generated, reference, None, list(concepts), Path(output_dir))
        self.parts = list(parts)
        self.settings = dict(settings or {})

    def run(self) -> dict[str, Any]:
        """Measure, write ``metrics.json`` and ``report.html``, return the metrics."""
        document = {"settings": self.settings, "versions": software_versions()}
        page = report_page(
            "Generated images beside real ones",
            [FURTHER_SECTIONS, "<h2>Settings</h2>", settings_table(self.settings)],
        )
        write_figures(self.images.output_dir, document, page)
        metrics = run_parts(self.parts, self.images, document, page, self.images.output_dir)
        logger.info("Report: %s", self.images.output_dir / "report.html")
        return metrics
