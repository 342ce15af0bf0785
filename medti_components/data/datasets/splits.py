# SPDX-License-Identifier: Apache-2.0
"""Training, validation and test cases of a data set, and those of a classifier: made once, no patient in two of them.

A data set's reader gives cases (patient, concept, files). :class:`Splits` draws from them.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, Protocol

from medti_components.data.datasets.patient_splits import Case, PatientSplits, split_by_patient
from medti_components.data.datasets.tables import CaseCounts
from medti_components.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

SPLITS = ("training", "validation", "test")
SIZE_KEYS = ("num_cases", "num_validation_cases", "num_test_cases")
ADD_STUDIES = "add studies, or drop the concept from --concepts"
CLASSIFIER_SIZE_KEYS = ("num_classifier_cases", "num_classifier_validation_cases", "num_test_cases")

Entry = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Cases of each concept that are asked for.

    Args:
        training: training cases.
        validation: validation cases.
        test: test cases; all that are left where None.
        keys: the config keys that the three come from, for messages.

    Raises:
        ConfigError: a number of training or validation cases is negative or not whole.

    >>> Sizes(-1, 20)
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: num_cases must be a whole number of at least 0, got -1: correct --num_cases
    """

    training: int
    validation: int
    test: int | None = None
    keys: tuple[str, str, str] = SIZE_KEYS

    def __post_init__(self) -> None:
        for key, value in zip(self.keys, (self.training, self.validation), strict=False):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigError(f"{key} must be a whole number of at least 0, got {value!r}: correct --{key}")

    def of(self, split: str) -> int | None:
        """Return the number of cases of a split."""
        return (self.training, self.validation, self.test)[SPLITS.index(split)]


class CaseReader(Protocol):
    """A data set whose cases can be drawn; an entry has the files, concept, label, patient_id and study_id of one."""

    def drawn(self, split: str, sizes: Sizes, seed: int) -> list[Entry]:
        """Return the entries of 'training', 'validation' or 'test', concept by concept."""

    def left(self, split: str, taken: Sizes, sizes: Sizes, seed: int) -> list[Entry]:
        """Return the entries of a classifier's 'training' or 'validation', from what ``taken`` leaves."""

    def counts(self) -> list[str]:
        """Tell for each concept how many cases each filter leaves, and what was left out of those drawn so far."""


class Splits:
    """The cases of a data set by split; each split is drawn when it is first asked for.

    Args:
        reader: makes the :class:`CaseReader` of a folder; takes the folder and, as ``key``, the config key that it
            comes from.
        dataset_dir: the data set that the words are learned from.
        num_cases: training cases of each concept.
        num_validation_cases: validation cases of each concept.
        seed: decides which case is in which split.
        num_test_cases: test cases of each concept; all that are left where None.
        classifier_dataset_dir: another data set that an evaluation's classifier learns from; None takes what training,
            validation and test leave of ``dataset_dir``.
        num_classifier_cases: cases of each concept that the classifier learns from.
        num_classifier_validation_cases: cases of each concept that it is tried on.

    Raises:
        ConfigError: a key does not fit.
        DataError: when a split is asked for: the data set or a file of a case is missing, or there are fewer cases.
    """

    keys = SIZE_KEYS
    classifier_keys = CLASSIFIER_SIZE_KEYS

    def __init__(
        self,
        reader: Callable[..., CaseReader],
        dataset_dir: str | Path,
        num_cases: int,
        num_validation_cases: int,
        seed: int,
        num_test_cases: int | None = None,
        classifier_dataset_dir: str | Path | None = None,
        num_classifier_cases: int = 0,
        num_classifier_validation_cases: int = 0,
    ) -> None:
        self._reader = reader
        self._cases = reader(dataset_dir)
        self._classifier_dataset_dir = classifier_dataset_dir
        self.sizes = Sizes(num_cases, num_validation_cases, num_test_cases, self.keys)
        self.classifier_sizes = Sizes(num_classifier_cases, num_classifier_validation_cases, None, self.classifier_keys)
        self.seed = seed

    @cached_property
    def training(self) -> list[Entry]:
        """The cases that the words are learned from."""
        return self._drawn("training")

    @cached_property
    def validation(self) -> list[Entry]:
        """The cases of the held-out loss."""
        return self._drawn("validation")

    @cached_property
    def test(self) -> list[Entry]:
        """The cases that generated images are measured against."""
        return self._drawn("test")

    @cached_property
    def classifier_training(self) -> list[Entry]:
        """The cases that an evaluation's classifier learns from: none that the words have seen, none of the test."""
        return self._of_classifier("training")

    @cached_property
    def classifier_validation(self) -> list[Entry]:
        """The cases that the classifier is tried on."""
        return self._of_classifier("validation")

    def counts(self) -> list[str]:
        """Tell for each concept how many cases of ``dataset_dir`` each filter leaves."""
        return self._cases.counts()

    def _drawn(self, split: str) -> list[Entry]:
        return self._cases.drawn(split, self.sizes, self.seed)

    def _of_classifier(self, split: str) -> list[Entry]:
        if self._classifier_dataset_dir is None:
            return self._cases.left(split, self.sizes, self.classifier_sizes, self.seed)
        others = self._reader(self._classifier_dataset_dir, key="classifier_dataset_dir")
        return others.drawn(split, self.classifier_sizes, self.seed)


class CaseGroup(ABC, Generic[Case]):
    """The cases of a data set that stand for one concept.

    Args:
        concept: the token.
        counts: how the cases were chosen from the rows of a table, where they were.

    Attributes:
        num_skipped: cases left out so far since their files are missing or unreadable, as the user asked.
    """

    def __init__(self, concept: str, counts: CaseCounts | None = None) -> None:
        self.concept = concept
        self.counts = counts
        self.num_skipped = 0
        self._entries: dict[int, Entry | None] = {}

    @property
    @abstractmethod
    def cases(self) -> Sequence[Case]:
        """All cases, in any order, each with ``patient_id``; the same objects whenever they are asked for."""

    @abstractmethod
    def read_entry(self, case: Case) -> Entry | None:
        """Return the entry of a case; None, or an error, where it can't be used. Asked once, if a case comes up."""

    def notes(self) -> list[str]:
        """Return what else was left out, for messages."""
        return []

    def entry(self, case: Case) -> Entry | None:
        """Return the entry of a case, or None where it can't be used."""
        if id(case) not in self._entries:
            self._entries[id(case)] = self.read_entry(case)
        return self._entries[id(case)]

    def is_usable(self, case: Case) -> bool:
        """Tell whether a case has an entry."""
        return self.entry(case) is not None


class PatientCases(ABC):
    """A data set of patients, each of whom is in one split with all cases; what most readers are.

    Args:
        dataset_dir: where the data set is.
    """

    def __init__(self, dataset_dir: str | Path) -> None:
        self.dataset_dir = Path(dataset_dir)

    @property
    @abstractmethod
    def groups(self) -> Sequence[CaseGroup[Any]]:
        """The cases by concept; no patient has cases of two concepts."""

    def drawn(self, split: str, sizes: Sizes, seed: int) -> list[Entry]:
        """Return the entries of a split, ``sizes`` of each concept, as :func:`split_by_patient` draws them.

        Raises:
            DataError: there are fewer.
        """
        entries: list[Entry] = []
        for group in self.groups:
            # Training is drawn for the test split too, since test takes what training leaves.
            num_test = sizes.test if split == "test" else 0
            splits = split_by_patient(
                group.cases,
                attrgetter("patient_id"),
                sizes.training,
                sizes.validation,
                num_test,
                seed,
                group.is_usable,
            )
            self._check(split, group, splits, sizes)
            entries += [entry for case in getattr(splits, split) if (entry := group.entry(case)) is not None]
        return entries

    def counts(self) -> list[str]:
        """Tell for each concept how many cases each filter leaves, and what was left out of those drawn so far."""
        return [f"{group.concept}: {group.counts}{_left_out(group)}" for group in self.groups]

    def left(self, split: str, taken: Sizes, sizes: Sizes, seed: int) -> list[Entry]:
        """Return the entries of a classifier's split, from what the splits of sizes ``taken`` leave.

        Raises:
            DataError: there are fewer.
        """
        tested = {entry["patient_id"] for entry in self.drawn("test", taken, seed)}
        left: dict[str, list[Entry]] = {}
        for entry in self.drawn("test", replace(taken, test=None), seed):
            own = left.setdefault(entry["concept"], [])
            own += [entry] if entry["patient_id"] not in tested else []
        entries: list[Entry] = []
        for concept, own in left.items():
            splits = split_by_patient(
                own, lambda entry: str(entry["patient_id"]), sizes.training, sizes.validation, 0, seed
            )
            if len(splits.training) < sizes.training or len(splits.validation) < sizes.validation:
                raise DataError(
                    f"concept '{concept}' has {len(own)} cases left for the classifier, "
                    f"{sizes.training + sizes.validation} are asked for: lower --{sizes.keys[0]}, or give other "
                    "studies by --classifier_dataset_dir"
                )
            entries += getattr(splits, split)
        return entries

    def _check(self, split: str, group: CaseGroup[Any], splits: "PatientSplits[Any]", sizes: Sizes) -> None:
        """Raise DataError where a split is too small; only log it where that is since cases were skipped."""
        training_key, validation_key, test_key = sizes.keys
        if split == "test":
            num_left, asked = len(splits.test), 1 if sizes.test is None else sizes.test
            if num_left < asked:
                if not (splits.training or splits.validation or splits.test):
                    raise DataError(self._no_cases(group))
                keys = (training_key, validation_key) if sizes.training or sizes.validation else (test_key,)
                raise DataError(
                    f"concept '{group.concept}' has {num_left} cases left for test, {asked} are asked for: lower "
                    f"{_options(keys)}"
                )
            return
        num_found, num_asked = len(splits.training) + len(splits.validation), sizes.training + sizes.validation
        if num_found >= num_asked:
            return
        left_out = _left_out(group)
        if num_found == 0:
            raise DataError(self._no_cases(group, left_out))
        asks = f"{training_key} asks for {sizes.training}"
        asks += f" and {validation_key} for {sizes.validation}" if sizes.validation else ""
        message = f"concept '{group.concept}' has {num_found} cases{left_out}, {asks}"
        if num_found + group.num_skipped < num_asked or (sizes.training and not splits.training):
            keys = (training_key, validation_key) if sizes.validation else (training_key,)
            raise DataError(f"{message}: lower {_options(keys)}")
        logger.warning("%s", message)

    def _no_cases(self, group: CaseGroup[Any], left_out: str = "") -> str:
        counts = f" ({group.counts})" if group.counts else ""
        remedy = (group.counts and group.counts.remedy()) or ADD_STUDIES
        return f"concept '{group.concept}' has no cases in '{self.dataset_dir}'{counts}{left_out}: {remedy}"


def _left_out(group: CaseGroup[Any]) -> str:
    """Return in words what was left out of the cases that came up."""
    skipped = [f"{group.num_skipped} without or with unreadable files"] if group.num_skipped else []
    reasons = ", ".join([*skipped, *group.notes()])
    return f" (left out: {reasons})" if reasons else ""


def _options(keys: Iterable[str]) -> str:
    return " or ".join(f"--{key}" for key in keys)


def check_patients_apart(splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Check that no patient is in two splits, each a list of entries with ``patient_id``.

    Raises:
        DataError: one is; the message names the patient and the splits.

    >>> check_patients_apart({"train": [{"patient_id": "1"}], "validation": [{"patient_id": "2"}]})
    """
    seen: dict[str, str] = {}
    for split, entries in splits.items():
        for entry in entries:
            other = seen.setdefault(str(entry["patient_id"]), split)
            if other != split:
                raise DataError(
                    f"patient '{entry['patient_id']}' is in both {other} and {split}: split by patient_id, not by slice"
                )
