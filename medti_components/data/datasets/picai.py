# SPDX-License-Identifier: Apache-2.0
"""The studies of a PI-CAI download by concept."""

import functools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import SimpleITK

from medti_components.data.datasets.file_readers import read_volume
from medti_components.data.datasets.picai_images import SEQUENCES, image_folders, volumes_by_study
from medti_components.data.datasets.picai_masks import GLANDS, LESIONS, mask_source, masks_by_study
from medti_components.data.datasets.splits import ADD_STUDIES, CaseGroup, Entry, PatientCases
from medti_components.data.datasets.tables import CaseCounts, TableRow, check_distinct, plain_text, table_rows
from medti_components.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

SKIP_REMEDY = "leave such studies out by --skip_unreadable true"

_CANCER = {"YES": 1, "NO": 0}
_EXPECTED = "PI-CAI's images/ and picai_labels/"
_LABELS = Path("picai_labels")
_MARKSHEET = _LABELS / "clinical_information" / "marksheet.csv"


@dataclass(frozen=True)
class _Study:
    """One row of the marksheet whose images were downloaded."""

    patient_id: str
    study_id: str
    label: int
    images: dict[str, Path]
    glands: list[Path]
    lesions: list[Path]

    @property
    def name(self) -> str:
        """The stem of its files."""
        return f"{self.patient_id}_{self.study_id}"

    def missing(self) -> str | None:
        """Return what the study lacks, with where it was looked for, or None."""
        for sequence in SEQUENCES:
            if sequence not in self.images:
                beside = next(iter(self.images.values()))
                return f"no {sequence.upper()} volume '{beside.with_name(f'{self.name}_{sequence}.mha')}'"
        name = f"{self.name}.nii.gz"
        if not self.glands:
            return f"no gland mask '{name}' in '{GLANDS}'"
        if self.label and not self.lesions:
            return f"no lesion mask '{name}' in '{LESIONS}'"
        return None


class PicaiCases(PatientCases):
    """PI-CAI's studies, with the classes negative and positive.

    A study is positive when the marksheet's ``case_csPCa`` is YES and a lesion is delineated (by a human where there is
    one, else by AI), negative when it is NO, in upper or lower case. Left out are studies where it is blank, studies
    without any image in ``dataset_dir``, and negative studies of patients who also have a positive one.

    Of several masks the best is taken, see :func:`masks_by_study`; an empty lesion mask is passed over.

    Entries have the paths t2w, adc, hbv, gland, lesion (None where there is none) and mask (that decides the slice: the
    lesion of positive studies, the gland of negative ones), mask_source ('human_expert/resampled', ...), label (0 or
    1), concept, patient_id, study_id.

    Args:
        dataset_dir: folder with PI-CAI's ``images/``, or the folders of its five archives, and ``picai_labels/``.
        concepts: tokens that end in ``negative>`` or ``positive>``.
        skip_unreadable: leave out studies without one of their files, and log them.
        key: the config key that ``dataset_dir`` comes from, for messages.

    Raises:
        ConfigError: a concept is neither.
        DataError: when cases are asked for: the data set or a file of a study is missing, or ``case_csPCa`` is neither
            YES nor NO nor blank.
    """

    def __init__(
        self,
        dataset_dir: str | Path,
        concepts: Sequence[str],
        skip_unreadable: bool = False,
        key: str = "dataset_dir",
    ) -> None:
        super().__init__(dataset_dir)
        self._labels = concept_labels(concepts)
        self._skip_unreadable = skip_unreadable
        self._key = key

    @functools.cached_property
    def groups(self) -> list["_StudiesOfConcept"]:
        """The studies of each concept."""
        studies, counts = _downloaded_studies(self.dataset_dir, self._key)
        both = {study.patient_id for study in studies if study.label}
        groups = []
        for concept, label in self._labels.items():
            own = counts.branch()
            text = {meaning: text for text, meaning in _CANCER.items()}[label]
            chosen = own.keep(studies, f"with case_csPCa {text}", ADD_STUDIES, partial(_has_label, label))
            if not label:
                apart = "of patients without a positive study"
                chosen = own.keep(chosen, apart, ADD_STUDIES, lambda study: study.patient_id not in both)
            groups.append(_StudiesOfConcept(concept, self.dataset_dir, chosen, own, self._skip_unreadable))
        return groups


def _has_label(label: int, study: _Study) -> bool:
    return study.label == label


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


def _downloaded_studies(dataset_dir: Path, key: str) -> tuple[list[_Study], CaseCounts]:
    """Return the studies of the marksheet of which the label is known and at least one sequence is there."""
    marksheet = dataset_dir / _MARKSHEET
    if not dataset_dir.is_dir():
        raise DataError(f"{key} '{dataset_dir}' does not exist: set --{key} to a folder with {_EXPECTED}")
    folders = image_folders(dataset_dir)
    for path in (*(() if folders else (Path("images"),)), _LABELS, _MARKSHEET):
        if not (dataset_dir / path).exists():
            raise DataError(f"{key} '{dataset_dir}' has no '{path}': set --{key} to a folder with {_EXPECTED}")
    rows = table_rows(marksheet, ("case_csPCa", "patient_id", "study_id"), "download PI-CAI's marksheet again")
    check_distinct(rows, _name)
    counts = CaseCounts(marksheet, len(rows))
    labels = {row.place: row.meaning("case_csPCa", _CANCER) for row in rows}
    labelled = counts.keep(
        rows, "with a case_csPCa", f"fill in case_csPCa in '{marksheet}'", lambda row: labels[row.place] is not None
    )
    volumes = volumes_by_study(path for folder in folders for path in sorted(folder.rglob("*_*.*")))
    found = counts.keep(
        labelled,
        "with images",
        f"set --{key} to the folder whose images/ holds <patient_id>/<patient_id>_<study_id>_t2w.mha",
        lambda row: _name(row) in volumes,
    )
    glands, lesions = masks_by_study(dataset_dir / GLANDS), masks_by_study(dataset_dir / LESIONS)
    studies = [
        _Study(
            plain_text(row["patient_id"]),
            plain_text(row["study_id"]),
            labels[row.place] or 0,
            volumes[_name(row)],
            glands.get(_name(row), []),
            lesions.get(_name(row), []),
        )
        for row in found
    ]
    logger.info("%s", counts)
    return studies, counts


def _name(row: TableRow) -> str:
    return f"{plain_text(row['patient_id'])}_{plain_text(row['study_id'])}"


class _StudiesOfConcept(CaseGroup[_Study]):
    def __init__(
        self, concept: str, folder: Path, studies: list[_Study], counts: CaseCounts, skip_unreadable: bool
    ) -> None:
        super().__init__(concept, counts)
        self._folder = folder
        self._studies = studies
        self._skip_unreadable = skip_unreadable
        self._num_without_lesion = 0

    @functools.cached_property
    def cases(self) -> list[_Study]:
        """The studies that have all files; the others are an error, or logged and counted."""
        lacking = [(study, missing) for study in self._studies if (missing := study.missing())]
        if lacking and not self._skip_unreadable:
            study, missing = lacking[0]
            others = f" ({len(lacking) - 1} more studies lack files)" if len(lacking) > 1 else ""
            raise DataError(f"study '{study.name}' has {missing}{others}: download it, or {SKIP_REMEDY}")
        for study, missing in lacking:
            logger.warning("study '%s' is left out: it has %s", study.name, missing)
        self.num_skipped += len(lacking)
        return [study for study in self._studies if study.missing() is None]

    def notes(self) -> list[str]:
        """Tell how many positive studies show no lesion."""
        return [f"{num} positive ones with empty lesion masks"] if (num := self._num_without_lesion) else []

    def read_entry(self, case: _Study) -> Entry | None:
        """Return the entry of a study that shows what its label says, with the first lesion mask that is not empty."""
        lesion = str(case.lesions[0]) if case.lesions else None
        if case.label:
            try:
                delineated = next((path for path in case.lesions if _holds_a_lesion(path, _file_state(path))), None)
            except DataError as error:
                if not self._skip_unreadable:
                    raise
                logger.warning("study '%s' is left out: %s", case.name, error)
                self.num_skipped += 1
                return None
            if delineated is None:
                logger.info("study '%s' is left out: case_csPCa is YES, but its lesion masks are empty", case.name)
                self._num_without_lesion += 1
                return None
            lesion = str(delineated)
        mask, folder = (Path(lesion), LESIONS) if case.label and lesion else (case.glands[0], GLANDS)
        return {
            **{sequence: str(case.images[sequence]) for sequence in SEQUENCES},
            "gland": str(case.glands[0]),
            "lesion": lesion,
            "mask": str(mask),
            "mask_source": mask_source(mask, self._folder / folder),
            "label": case.label,
            "concept": self.concept,
            "patient_id": case.patient_id,
            "study_id": case.study_id,
        }


@functools.cache
def _holds_a_lesion(path: Path, state: tuple[int, int]) -> bool:
    """Tell whether any voxel of the mask is above zero; ``state`` makes a changed file be read again."""
    return bool(SimpleITK.GetArrayFromImage(read_volume(path)).any())


def _file_state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
