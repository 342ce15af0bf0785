# SPDX-License-Identifier: Apache-2.0
"""The studies of a PI-CAI download as a datalist, by concept and split."""

import functools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import SimpleITK

from medti_components.data.datasets.patient_splits import split_by_patient
from medti_components.data.datasets.simpleitk_reader import read_volume
from medti_components.data.datasets.split_sizes import SplitSizes
from medti_components.data.datasets.table_file import table_rows
from medti_components.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

SEQUENCES = ("t2w", "adc", "hbv")
LESION_FOLDERS = ("human_expert/resampled", "human_expert/original", "AI/Bosma22a")
GLAND_FOLDERS = ("Bosma22b", "Guerbet23")
SKIP_REMEDY = "leave such studies out by --skip_unreadable true"

_EXPECTED = "PI-CAI's images/ and picai_labels/"
_LABELS = Path("picai_labels")
_MARKSHEET = _LABELS / "clinical_information" / "marksheet.csv"
_LESIONS = _LABELS / "csPCa_lesion_delineations"
_GLANDS = _LABELS / "anatomical_delineations" / "whole_gland" / "AI"


@dataclass
class _Study:
    """One row of the marksheet whose images were downloaded."""

    patient_id: str
    study_id: str
    label: int
    images: dict[str, Path]
    gland: Path | None
    lesions: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The stem of its files."""
        return f"{self.patient_id}_{self.study_id}"

    def missing(self) -> str | None:
        """Return what the study lacks, with where it was looked for, or None."""
        for sequence, path in self.images.items():
            if not path.is_file():
                return f"no {sequence.upper()} volume '{path}'"
        name = f"{self.name}.nii.gz"
        if self.gland is None:
            return f"no gland mask '{name}' in {' or '.join(GLAND_FOLDERS)} of '{_GLANDS}'"
        if self.label and not self.lesions:
            return f"no lesion mask '{name}' in {' or '.join(LESION_FOLDERS)} of '{_LESIONS}'"
        return None


def picai_datalist(
    dataset_dir: str | Path,
    concepts: Sequence[str],
    num_cases: int,
    num_validation_cases: int,
    seed: int,
    split: str,
    skip_unreadable: bool = False,
    num_test_cases: int | None = None,
) -> list[dict[str, Any]]:
    """List the studies of one split, ``num_cases`` of each concept for training, all studies of a patient in one split.

    The splits are those of :func:`split_by_patient`. A study is positive when the marksheet's ``case_csPCa`` is YES and
    a lesion is delineated (by a human where there is one, else by AI), negative when it is NO. Negative studies of
    patients who also have a positive one are left out, and so are studies of the marksheet without any image in
    ``dataset_dir``.

    Args:
        dataset_dir: folder with PI-CAI's ``images/`` and ``picai_labels/``.
        concepts: tokens that end in ``negative>`` or ``positive>``.
        num_cases: training studies of each concept.
        num_validation_cases: validation studies of each concept.
        seed: decides who is in which split.
        split: 'training', 'validation' or 'test'.
        skip_unreadable: leave out studies without one of their files, and log them.
        num_test_cases: test studies of each concept; all that are left where None.

    Returns:
        entries with the paths t2w, adc, hbv, gland, lesion (None where there is none) and mask (that decides the slice:
        the lesion of positive studies, the gland of negative ones), label (0 or 1), concept, patient_id, study_id.

    Raises:
        ConfigError: a key does not fit.
        DataError: the data set or a file of a study is missing, or there are fewer cases than asked for.
    """
    labels = concept_labels(concepts)
    sizes = SplitSizes(num_cases, num_validation_cases, num_test_cases, split)
    studies = _downloaded_studies(Path(dataset_dir))
    both = {study.patient_id for study in studies if study.label}
    entries: list[dict[str, Any]] = []
    for concept, label in labels.items():
        chosen = [study for study in studies if study.label == label and (label or study.patient_id not in both)]
        selection = _Selection(skip_unreadable)
        splits = split_by_patient(
            selection.complete(chosen),
            lambda study: study.patient_id,
            # Training is drawn for the test split too, since test takes what training leaves.
            num_cases,
            num_validation_cases,
            num_test_cases if split == "test" else 0,
            seed,
            selection.is_usable,
        )
        notes = [f"{num} positive ones with empty lesion masks"] if (num := selection.num_without_lesion) else []
        sizes.check(concept, dataset_dir, splits, selection.num_skipped, notes)
        entries += [_entry(study, concept) for study in getattr(splits, split)]
    return entries


def concept_labels(concepts: Iterable[str]) -> dict[str, int]:
    """Return the label of each concept: 0 for tokens that end in ``negative>``, 1 for ``positive>``.

    Raises:
        ConfigError: a token ends otherwise, or there is none.

    >>> concept_labels(["<prostate_mri_negative>", "<prostate_mri_positive>"])
    {'<prostate_mri_negative>': 0, '<prostate_mri_positive>': 1}
    """
    tokens = [concepts] if isinstance(concepts, str) else list(concepts)
    if not tokens:
        raise ConfigError("concepts must name at least one token, got []: set --concepts")
    labels = {}
    for token in tokens:
        ending = str(token).removesuffix(">").rpartition("_")[2]
        if ending not in ("negative", "positive"):
            raise ConfigError(
                f"concepts of PI-CAI must end in 'negative>' or 'positive>', got '{token}': correct --concepts"
            )
        labels[token] = int(ending == "positive")
    return labels


def _downloaded_studies(dataset_dir: Path) -> list[_Study]:
    """Return the studies of the marksheet of which at least one sequence is there."""
    marksheet = dataset_dir / _MARKSHEET
    if not dataset_dir.is_dir():
        raise DataError(f"dataset_dir '{dataset_dir}' does not exist: set --dataset_dir to a folder with {_EXPECTED}")
    for path in (Path("images"), _LABELS, _MARKSHEET):
        if not (dataset_dir / path).exists():
            raise DataError(
                f"dataset_dir '{dataset_dir}' has no '{path}': set --dataset_dir to a folder with {_EXPECTED}"
            )
    rows = table_rows(marksheet, ("case_csPCa", "patient_id", "study_id"), "download PI-CAI's marksheet again")
    there = {path.name for path in (dataset_dir / "images").glob("*/*_*.mha")}
    studies = []
    for row in rows:
        name = f"{row['patient_id']}_{row['study_id']}"
        if not any(f"{name}_{sequence}.mha" in there for sequence in SEQUENCES):
            continue
        studies.append(
            _Study(
                row["patient_id"],
                row["study_id"],
                int(row["case_csPCa"].strip().upper() == "YES"),
                {
                    sequence: dataset_dir / "images" / row["patient_id"] / f"{name}_{sequence}.mha"
                    for sequence in SEQUENCES
                },
                next(iter(_existing(dataset_dir / _GLANDS, GLAND_FOLDERS, name)), None),
                _existing(dataset_dir / _LESIONS, LESION_FOLDERS, name),
            )
        )
    if len(studies) < len(rows):
        logger.info("%d of the %d studies of %s have no images there", len(rows) - len(studies), len(rows), marksheet)
    return studies


def _existing(folder: Path, subfolders: Iterable[str], name: str) -> list[Path]:
    paths = (folder / subfolder / f"{name}.nii.gz" for subfolder in subfolders)
    return [path for path in paths if path.is_file()]


class _Selection:
    """Sorts out the studies of one concept that can't be used, and remembers how many."""

    def __init__(self, skip_unreadable: bool) -> None:
        self.skip_unreadable = skip_unreadable
        self.num_skipped = 0
        self.num_without_lesion = 0

    def complete(self, studies: list[_Study]) -> list[_Study]:
        """Return the studies that have all files; the others are an error, or logged and counted."""
        lacking = [(study, missing) for study in studies if (missing := study.missing())]
        if lacking and not self.skip_unreadable:
            study, missing = lacking[0]
            others = f" ({len(lacking) - 1} more studies lack files)" if len(lacking) > 1 else ""
            raise DataError(f"study '{study.name}' has {missing}{others}: download it, or {SKIP_REMEDY}")
        for study, missing in lacking:
            logger.warning("study '%s' is left out: it has %s", study.name, missing)
        self.num_skipped += len(lacking)
        return [study for study in studies if study.missing() is None]

    def is_usable(self, study: _Study) -> bool:
        """Tell whether the study shows what its label says; its lesion mask becomes the first that is not empty."""
        if not study.label:
            return True
        try:
            delineated = next((path for path in study.lesions if _holds_a_lesion(path, _file_state(path))), None)
        except DataError as error:
            if not self.skip_unreadable:
                raise
            logger.warning("study '%s' is left out: %s", study.name, error)
            self.num_skipped += 1
            return False
        if delineated is None:
            logger.info("study '%s' is left out: case_csPCa is YES, but its lesion masks are empty", study.name)
            self.num_without_lesion += 1
            return False
        study.lesions = [delineated]
        return True


@functools.cache
def _holds_a_lesion(path: Path, state: tuple[int, int]) -> bool:
    """Tell whether any voxel of the mask is above zero; ``state`` makes a changed file be read again."""
    return bool(SimpleITK.GetArrayFromImage(read_volume(path)).any())


def _file_state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _entry(study: _Study, concept: str) -> dict[str, Any]:
    lesion = str(study.lesions[0]) if study.lesions else None
    return {
        **{sequence: str(path) for sequence, path in study.images.items()},
        "gland": str(study.gland),
        "lesion": lesion,
        "mask": lesion if study.label else str(study.gland),
        "label": study.label,
        "concept": concept,
        "patient_id": study.patient_id,
        "study_id": study.study_id,
    }
