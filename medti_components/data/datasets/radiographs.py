# SPDX-License-Identifier: Apache-2.0
"""Chest radiographs with known findings, and the choice of those that stand for a concept, whatever set they are of."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medti_components.data.datasets.patient_splits import split_by_patient
from medti_components.data.datasets.split_sizes import SplitSizes
from medti_components.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

FINDINGS = ("no_finding", "cardiomegaly", "pleural_effusion", "pneumonia")
SEVERAL_FINDINGS = "several findings"  # stands for the concept of images with more than one
VIEWS = ("AP", "PA")
SKIP_REMEDY = "leave such images out by --skip_unreadable true"


@dataclass(frozen=True)
class Radiograph:
    """One frontal image of a data set's table.

    Args:
        path: the image file; one that may have been downloaded to several places is looked for by ``located``.
        patient_id: the patient.
        study_id: of the image, unique in the data set.
        view: 'AP' or 'PA'; other values are never chosen.
        findings: those of :data:`FINDINGS` that are positive.
        uncertain: those that the report leaves open.
    """

    path: str
    patient_id: str
    study_id: str
    view: str
    findings: frozenset[str]
    uncertain: frozenset[str] = frozenset()

    def stands_for(self, finding: str, single_finding: bool) -> bool:
        """Tell whether the image shows ``finding`` for certain, and none of the other three where asked for."""
        if self.uncertain or finding not in self.findings:
            return False
        return len(self.findings) == 1 or not single_finding

    def shows_several(self, findings: Iterable[str]) -> bool:
        """Tell whether the image shows at least two of the diseases among ``findings``, and leaves nothing open."""
        return not self.uncertain and len(self.findings & (set(findings) - {FINDINGS[0]})) > 1


def concept_findings(concepts: Iterable[str]) -> dict[str, str]:
    """Return the finding of each concept, which its token ends in.

    Raises:
        ConfigError: a token ends otherwise, or there is none.

    >>> concept_findings(["<chest_xray_no_finding>", "<chest_xray_pleural_effusion>"])
    {'<chest_xray_no_finding>': 'no_finding', '<chest_xray_pleural_effusion>': 'pleural_effusion'}
    """
    tokens = [concepts] if isinstance(concepts, str) else list(concepts)
    if not tokens:
        raise ConfigError("concepts must name at least one token, got []: set --concepts")
    findings = {}
    for token in tokens:
        fitting = [finding for finding in FINDINGS if str(token).removesuffix(">").endswith(finding)]
        if not fitting:
            known = ", ".join(f"'{finding}>'" for finding in FINDINGS)
            raise ConfigError(
                f"concepts of chest radiographs must end in one of {known}, got '{token}': correct --concepts"
            )
        findings[token] = fitting[0]
    return findings


def checked_views(views: Iterable[str]) -> tuple[str, ...]:
    """Return the views as a tuple, one alone too.

    Raises:
        ConfigError: one is neither 'AP' nor 'PA', or there is none.

    >>> checked_views(["AP"]), checked_views("PA")
    (('AP',), ('PA',))
    """
    wanted = (views,) if isinstance(views, str) else tuple(views)
    if not wanted or any(view not in VIEWS for view in wanted):
        raise ConfigError(f"views must be of 'AP' and 'PA', got {list(wanted)}: set --views \"['AP']\"")
    return wanted


def radiograph_datalist(
    radiographs: Sequence[Radiograph],
    dataset_dir: str | Path,
    concepts: Sequence[str],
    sizes: SplitSizes,
    seed: int,
    views: Sequence[str] = ("AP",),
    skip_unreadable: bool = False,
    single_finding: bool = True,
    located: Callable[[Radiograph], Path] = lambda radiograph: Path(radiograph.path),
    several_findings: bool = False,
) -> list[dict[str, Any]]:
    """List the images of one split, ``sizes.num_cases`` of each concept for training.

    The splits are those of :func:`split_by_patient`. A patient with images of several concepts counts for one, the one
    with the fewest images in the set (such a patient's other images are left out), so that no patient is in two splits.

    Args:
        radiographs: all images of the data set's table.
        dataset_dir: where they come from, for the messages.
        concepts: tokens that end in one of :data:`FINDINGS`.
        sizes: cases asked for, and the split.
        seed: decides who is in which split.
        views: 'AP', 'PA' or both.
        skip_unreadable: leave out images whose file is missing, and log them.
        single_finding: leave out images with more than one of :data:`FINDINGS`.
        located: where an image's file lies; asked only about images that come up.
        several_findings: list images with at least two of the concepts' diseases instead, as one group for which the
            sizes hold: those of patients without an image that stands for a concept, who are in no split of the others.

    Returns:
        entries with the path image, label (0 to 3, in the order of :data:`FINDINGS`; not with several findings),
        findings (all of them), view, concept (:data:`SEVERAL_FINDINGS` where these are listed), patient_id, study_id.

    Raises:
        ConfigError: a key does not fit.
        DataError: a file is missing, or there are fewer images than asked for.
    """
    findings, wanted_views = concept_findings(concepts), checked_views(views)
    in_view = [radiograph for radiograph in radiographs if radiograph.view in wanted_views]
    of_concept = {
        concept: [radiograph for radiograph in in_view if radiograph.stands_for(finding, single_finding)]
        for concept, finding in findings.items()
    }
    rarest_first = sorted(of_concept, key=lambda concept: len(of_concept[concept]))
    counts_for = {
        radiograph.patient_id: concept for concept in reversed(rarest_first) for radiograph in of_concept[concept]
    }
    candidates = {
        concept: [radiograph for radiograph in own if counts_for[radiograph.patient_id] == concept]
        for concept, own in of_concept.items()
    }
    if several_findings:
        of_concept = {SEVERAL_FINDINGS: [each for each in in_view if each.shows_several(findings.values())]}
        candidates = {
            SEVERAL_FINDINGS: [each for each in of_concept[SEVERAL_FINDINGS] if each.patient_id not in counts_for]
        }
    entries: list[dict[str, Any]] = []
    for concept, chosen in candidates.items():
        files = _Files(located, skip_unreadable)
        splits = split_by_patient(
            chosen,
            lambda radiograph: radiograph.patient_id,
            # Training is drawn for the test split too, since test takes what training leaves.
            sizes.num_cases,
            sizes.num_validation_cases,
            sizes.num_test_cases if sizes.split == "test" else 0,
            seed,
            files.is_there,
        )
        num_elsewhere = len(of_concept[concept]) - len(chosen)
        elsewhere = "with an image of a concept" if several_findings else "with a rarer concept"
        notes = [f"{num_elsewhere} of patients {elsewhere}"] if num_elsewhere else []
        sizes.check(concept, dataset_dir, splits, files.num_missing, notes)
        entries += [
            {
                "image": str(files.path(radiograph)),
                **({} if several_findings else {"label": FINDINGS.index(findings[concept])}),
                "findings": [name for name in FINDINGS if name in radiograph.findings],
                "view": radiograph.view,
                "concept": concept,
                "patient_id": radiograph.patient_id,
                "study_id": radiograph.study_id,
            }
            for radiograph in getattr(splits, sizes.split)
        ]
    return entries


class _Files:
    """Finds the images' files, and counts those that are missing."""

    def __init__(self, located: Callable[[Radiograph], Path], skip_unreadable: bool) -> None:
        self.path = located
        self.skip_unreadable = skip_unreadable
        self.num_missing = 0

    def is_there(self, radiograph: Radiograph) -> bool:
        """Tell whether the file exists; where not, that is an error, or logged and counted."""
        path = self.path(radiograph)
        if path.is_file():
            return True
        if not self.skip_unreadable:
            raise DataError(f"'{path}' of the table does not exist: download it, or {SKIP_REMEDY}")
        logger.warning("'%s' of the table does not exist and is left out", path)
        self.num_missing += 1
        return False
