# SPDX-License-Identifier: Apache-2.0
"""Chest radiographs that stand for a concept, from whichever public data set is at hand."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

from medti_components.data.datasets.chexpert import read_chexpert
from medti_components.data.datasets.nih_chest_xray import read_nih_chest_xray
from medti_components.data.datasets.radiographs import FINDINGS, VIEWS, Radiograph, checked_views, concept_findings
from medti_components.data.datasets.splits import (
    ADD_STUDIES,
    CaseGroup,
    CaseReader,
    Entry,
    PatientCases,
    Splits,
)
from medti_components.data.datasets.tables import CaseCounts
from medti_components.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

READERS = {"chexpert": read_chexpert, "nih": read_nih_chest_xray}  # by dataset_format
SEVERAL_FINDINGS = "several findings"  # stands for the concept of images with more than one
SKIP_REMEDY = "leave such images out by --skip_unreadable true"


class RadiographCases(PatientCases):
    """The images of CheXpert ('chexpert') or of NIH ChestX-ray14 ('nih') that stand for a concept.

    An image stands for a concept when the concept's finding is positive; none of the four findings may be uncertain,
    nor, by default, another of the four positive. A patient with images of several concepts counts for one, the one
    with the fewest images in the set, and the patient's other images are left out.

    Entries have the path image, label (0 to 3, in the order of :data:`FINDINGS`; not with several findings), findings
    (all of them), view, concept, patient_id, study_id.

    Args:
        dataset_dir: the data set.
        dataset_format: 'chexpert' or 'nih'.
        concepts: tokens that end in ``no_finding>``, ``cardiomegaly>``, ``pleural_effusion>`` or ``pneumonia>``.
        views: 'AP', 'PA' or both.
        single_finding: leave out images with more than one of the four findings.
        several_findings: take images with at least two of the concepts' diseases instead, as the one concept
            :data:`SEVERAL_FINDINGS`: those of patients without an image that stands for a concept alone, who are in no
            split of the others.
        skip_unreadable: leave out images whose file is missing, and log them.
        key: the config key that ``dataset_dir`` comes from, for messages.

    Raises:
        ConfigError: a key does not fit.
        DataError: when cases are asked for: the data set or an image is missing.

    >>> RadiographCases("data", "padchest", ["<chest_xray_pneumonia>"])
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: dataset_format must be 'chexpert' or 'nih', got 'padchest': correct
    --dataset_format
    """

    def __init__(
        self,
        dataset_dir: str | Path,
        dataset_format: str,
        concepts: Sequence[str],
        views: Sequence[str] = ("AP",),
        single_finding: bool = True,
        several_findings: bool = False,
        skip_unreadable: bool = False,
        key: str = "dataset_dir",
    ) -> None:
        super().__init__(dataset_dir)
        if dataset_format not in READERS:
            names = " or ".join(f"'{name}'" for name in READERS)
            raise ConfigError(f"dataset_format must be {names}, got '{dataset_format}': correct --dataset_format")
        self._read = READERS[dataset_format]
        self._findings = concept_findings(concepts)
        self._views = checked_views(views)
        self._single_finding = single_finding
        self._several_findings = several_findings
        self._skip_unreadable = skip_unreadable
        self._key = key

    @cached_property
    def groups(self) -> list["_ImagesOfConcept"]:
        """The images of each concept."""
        found, counts = self._read(self.dataset_dir, self._key)
        others = sorted({image.view for image in found} & set(VIEWS) - set(self._views))
        remedy = f'set --views "{others}"' if others else f"give a table with images in view {self._views[0]}"
        images = counts.keep(
            found, f"in view {' or '.join(self._views)}", remedy, lambda image: image.view in self._views
        )
        images = counts.keep(images, "with nothing uncertain", ADD_STUDIES, lambda image: not image.uncertain)
        of_concept, counts_of = {}, {}
        for concept, finding in self._findings.items():
            own = counts_of[concept] = counts.branch()
            of_concept[concept] = own.keep(images, f"with {finding}", ADD_STUDIES, partial(_shows, finding))
            if self._single_finding:
                remedy = "add studies, or set --single_finding false"
                of_concept[concept] = own.keep(of_concept[concept], "with no other finding", remedy, _shows_one)
        rarest_first = sorted(of_concept, key=lambda concept: len(of_concept[concept]))
        counts_for = {image.patient_id: concept for concept in reversed(rarest_first) for image in of_concept[concept]}
        if self._several_findings:
            several = counts.keep(
                images,
                "with several findings",
                ADD_STUDIES,
                lambda image: image.shows_several(self._findings.values()),
            )
            apart = "of patients without an image of a concept"
            chosen = counts.keep(several, apart, ADD_STUDIES, lambda image: image.patient_id not in counts_for)
            return [_ImagesOfConcept(SEVERAL_FINDINGS, None, chosen, counts, self._skip_unreadable)]
        groups = []
        for concept, images in of_concept.items():
            own, counts_here = counts_of[concept], partial(_counts_for, concept, counts_for)
            chosen = own.keep(images, "of patients without a rarer concept", ADD_STUDIES, counts_here)
            label = FINDINGS.index(self._findings[concept])
            groups.append(_ImagesOfConcept(concept, label, chosen, own, self._skip_unreadable))
        return groups


def _shows(finding: str, image: Radiograph) -> bool:
    return finding in image.findings


def _shows_one(image: Radiograph) -> bool:
    return len(image.findings) == 1


def _counts_for(concept: str, concept_of: Mapping[str, str], image: Radiograph) -> bool:
    return concept_of[image.patient_id] == concept


class _ImagesOfConcept(CaseGroup[Radiograph]):
    """The images of a concept; ``label`` is None for several findings."""

    counts: CaseCounts

    def __init__(
        self, concept: str, label: int | None, images: list[Radiograph], counts: CaseCounts, skip_unreadable: bool
    ) -> None:
        super().__init__(concept, counts)
        self._label = label
        self._images = images
        self._skip_unreadable = skip_unreadable

    @property
    def cases(self) -> list[Radiograph]:
        """The images."""
        return self._images

    def notes(self) -> list[str]:
        """Tell how many images are of patients who count for another concept."""
        before, last = self.counts.filters[-2:]
        num = before.num_left - last.num_left
        where = "with an image of a concept" if self._label is None else "with a rarer concept"
        return [f"{num} of patients {where}"] if num else []

    def read_entry(self, case: Radiograph) -> Entry | None:
        """Return the entry of an image; a missing file is an error, or logged and counted."""
        path = case.file()
        if not path.is_file():
            if not self._skip_unreadable:
                raise DataError(f"'{path}' of the table does not exist: download it, or {SKIP_REMEDY}")
            logger.warning("'%s' of the table does not exist and is left out", path)
            self.num_skipped += 1
            return None
        return {
            "image": str(path),
            **({} if self._label is None else {"label": self._label}),
            "findings": [name for name in FINDINGS if name in case.findings],
            "view": case.view,
            "concept": self.concept,
            "patient_id": case.patient_id,
            "study_id": case.study_id,
        }


class RadiographSplits(Splits):
    """Splits whose test and classifier cases go on with images of several findings, after those of single ones.

    None of the patients with several findings is among those that the words are learned from: see
    :class:`RadiographCases`, which ``reader`` makes.

    Args:
        reader, dataset_dir, num_cases, num_validation_cases, seed, num_test_cases, classifier_dataset_dir,
            num_classifier_cases, num_classifier_validation_cases: as :class:`Splits` has them, of single findings.
        num_several_test_cases: test images with several findings, to hold composed ones against.
        num_several_cases: images with several findings, of any, that the classifier learns from.
        num_several_validation_cases: images with several findings that it is tried on.

    Attributes:
        several: the splits of images with several findings alone.

    Raises:
        ConfigError: a key does not fit.
        DataError: when a split is asked for: the data set or an image is missing, or there are fewer images.
    """

    def __init__(
        self,
        reader: Callable[..., CaseReader],
        dataset_dir: str | Path,
        num_cases: int,
        num_validation_cases: int,
        seed: int,
        num_test_cases: int | None,
        classifier_dataset_dir: str | Path | None,
        num_classifier_cases: int,
        num_classifier_validation_cases: int,
        num_several_test_cases: int,
        num_several_cases: int,
        num_several_validation_cases: int,
    ) -> None:
        single = (num_cases, num_validation_cases, seed, num_test_cases)
        own = (classifier_dataset_dir, num_classifier_cases, num_classifier_validation_cases)
        super().__init__(reader, dataset_dir, *single, *own)
        own = (classifier_dataset_dir, num_several_cases, num_several_validation_cases)
        several_reader = partial(reader, several_findings=True)
        self.several = _SeveralFindings(several_reader, dataset_dir, 0, 0, seed, num_several_test_cases, *own)

    def _drawn(self, split: str) -> list[Entry]:
        return super()._drawn(split) + (self.several.test if split == "test" else [])

    def _of_classifier(self, split: str) -> list[Entry]:
        return super()._of_classifier(split) + self.several._of_classifier(split)


class _SeveralFindings(Splits):
    keys = ("num_cases", "num_validation_cases", "num_several_test_cases")
    classifier_keys = ("num_several_cases", "num_several_validation_cases", "num_several_test_cases")

    def _of_classifier(self, split: str) -> list[Entry]:
        if (self.classifier_sizes.training, self.classifier_sizes.validation) == (0, 0):
            return []  # even where there are none
        return super()._of_classifier(split)
