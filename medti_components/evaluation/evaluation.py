# SPDX-License-Identifier: Apache-2.0
"""An evaluation: parts that look at the same images, ``metrics.json``, ``report.html`` and verdicts."""

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from medti_components.data.generated.provenance import software_versions
from medti_components.errors import ConfigError, DataError
from medti_components.evaluation.learned_words import LearnedWords
from medti_components.evaluation.verdict import Verdict, VerdictCheck
from medti_components.files import write_text_atomically
from medti_components.metrics.interval_estimate import IntervalEstimate, plain_metrics
from medti_components.visualize.report import Report, Section

logger = logging.getLogger(__name__)


class Images(Protocol):
    """A set of images: items are ``{"image": float32 (3, H, W) in [-1, 1], "concept": token, ...}``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> dict[str, Any]: ...


def items_of(images: Images) -> list[dict[str, Any]]:
    """Return all items of a set."""
    return [images[index] for index in range(len(images))]


@dataclass(frozen=True)
class EvaluatedImages:
    """What every part looks at.

    Args:
        generated: images of the embedding; None where none of single words were generated.
        reference: held-out real images, which neither the words nor a classifier saw.
        training: the real images that the words were learned from, or None.
        concepts: tokens of the concepts, the negative one first.
        output_dir: folder of the evaluation, where a part may leave a file.
        words: the words that the generated images are of; None where no file of them is given.
        phantoms: what the images called real are, where they are no patients': see :func:`phantoms_in`.
    """

    generated: Images | None
    reference: Images
    training: Images | None
    concepts: Sequence[str]
    output_dir: str | Path
    words: LearnedWords | None = None
    phantoms: str = ""

    @property
    def folder(self) -> Path:
        """The folder of the evaluation."""
        return Path(self.output_dir)


@dataclass(frozen=True)
class PartResult:
    """What a part found.

    Args:
        name: its key in ``metrics.json``, e.g. "quality"; None where the metrics' own names are keys there.
        metrics: ``IntervalEstimate`` and plain values in mappings of any depth.
        sections: of the report.
        summary: plain sentences for the head of the report, the most important first.
        checks: what the verdicts depend on.
        settings: what the report shows beside the evaluation's settings.
    """

    name: str | None
    metrics: Mapping[str, Any]
    sections: Sequence[Section] = ()
    summary: Sequence[str] = ()
    checks: Sequence[VerdictCheck] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


class EvaluationPart(ABC):
    """Anything that measures on :class:`EvaluatedImages`."""

    needs_generated: ClassVar[bool] = True
    """Whether it is left out where no images of single words were generated."""

    def check(self, images: EvaluatedImages) -> None:  # noqa: B027 a part may have nothing to check
        """Find what would spoil the metrics, before anything long begins.

        Raises:
            MedtiError: the images or the settings don't fit.
        """

    @abstractmethod
    def __call__(self, images: EvaluatedImages) -> PartResult:
        """Measure.

        Raises:
            MedtiError: the images don't fit; what was computed before is kept.
        """


def undetermined(name: str, heading: str, reason: str, checks: Sequence[VerdictCheck] = ()) -> PartResult:
    """Return the result of a part that could not measure, for a ``reason`` that is no fault.

    >>> undetermined("modality", "Left and right", "num_cases is 0").metrics
    {'undetermined': 'num_cases is 0'}
    """
    return PartResult(name, {"undetermined": reason}, [Section(heading, [f"Undetermined: {reason}."])], checks=checks)


class Evaluation:
    """Run parts one after the other, and write ``metrics.json`` and ``report.html`` after each.

    A part that fails spoils nothing that was measured before it. In ``metrics.json`` come first the keys of parts
    without a name, then "settings" and "versions", then each other part under its name. The verdicts on what the parts
    found come last in ``metrics.json`` ("verdict" on sharing, "quality_verdict") and in the log, first in the report.

    Args:
        images: what all parts look at.
        parts: in the order of the report.
        settings: recorded in ``metrics.json`` as they are.
        verdicts: join the parts' checks.
        title: of the report.
        warning: stands beneath the title.
    """

    def __init__(
        self,
        images: EvaluatedImages,
        parts: Sequence[EvaluationPart],
        settings: Mapping[str, Any] | None = None,
        verdicts: Sequence[Verdict] = (),
        title: str = "Generated images beside real ones",
        warning: str = "Synthetic images, for research. Not for diagnosis.",
    ) -> None:
        self.images = images
        self.parts = [part for part in parts if images.generated is not None or not part.needs_generated]
        self.settings = dict(settings or {})
        self.verdicts = list(verdicts)
        self.title = title
        self.warning = warning

    def check(self) -> None:
        """Find what would spoil the metrics, before anything long begins.

        Raises:
            MedtiError: a part's own.
        """
        for part in self.parts:
            part.check(self.images)

    def run(self) -> dict[str, Any]:
        """Measure and write both files; return the metrics.

        Raises:
            ConfigError: two parts have one name.
            OutputError: a file can't be written.
            MedtiError: a part's own.
        """
        if self.images.phantoms:
            self.settings["data"] = self.images.phantoms
        report = Report(self.title, self.warning, self.settings, self.images.phantoms)
        shown = dict(self.settings)
        of_all: dict[str, Any] = {}
        facts: dict[str, Any] = {"settings": self.settings, "versions": software_versions()}
        of_parts: dict[str, Any] = {}
        words = self.images.words
        checks: list[VerdictCheck] = [] if words is None else [words.check]
        for part in self.parts:
            result = part(self.images)
            plain = plain_metrics(result.metrics)
            found = plain if result.name is None else {result.name: plain}
            for name in found:
                if name in {**of_all, **facts, **of_parts}:
                    raise ConfigError(f"parts must have a name each, got '{name}' twice: take one out of parts")
            (of_all if result.name is None else of_parts).update(found)
            checks += result.checks
            report.add(result.sections, result.summary)
            report.settings = shown = {**shown, **result.settings}
            _log(result.metrics, result.name or "")
            self._write({**of_all, **facts, **of_parts}, report)
        logger.info("Report: %s", self.images.folder / "report.html")
        document = {**of_all, **facts, **of_parts}
        for verdict in self.verdicts:
            found = verdict(checks)
            if verdict.about == "sharing":
                found["embedding_sha256"] = {} if words is None else words.sha256
            document["verdict" if verdict.about == "sharing" else f"{verdict.about}_verdict"] = found
            report.judge(
                verdict.about, found["statement"], {verdict.good: True, verdict.bad: False}.get(found["verdict"])
            )
            logger.info("Verdict on %s: %s", verdict.about, found["statement"])
        if self.verdicts:
            self._write(document, report)
        return document

    def _write(self, document: Mapping[str, Any], report: Report) -> None:
        write_text_atomically(self.images.folder / "metrics.json", json.dumps(document, indent=2) + "\n")
        report.write(self.images.folder / "report.html")


def _log(metrics: Mapping[str, Any], path: str) -> None:
    """Log each estimate in mappings of any depth, by its place in them."""
    for name, metric in metrics.items():
        where = f"{path}, {name}" if path else str(name)
        if isinstance(metric, Mapping):
            _log(metric, where)
        elif isinstance(metric, IntervalEstimate):
            logger.info("%s: %s, n = %s", where, metric, dict(metric.counts))
        elif metric is None:
            logger.info("%s: undetermined", where)


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


def check_picture_folders(**folders: str | Path | None) -> None:
    """Check that all folders of a comparison are given: the first step of ``comparing``.

    Raises:
        ConfigError: one is None.

    >>> check_picture_folders(generated_dir="output/generating", reference_dir=None)
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: comparing needs reference_dir, got null: set --reference_dir to a folder of
    pictures
    """
    for name, folder in folders.items():
        if folder is None:
            raise ConfigError(f"comparing needs {name}, got null: set --{name} to a folder of pictures")
