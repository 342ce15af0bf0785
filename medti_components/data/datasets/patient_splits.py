# SPDX-License-Identifier: Apache-2.0
"""Cases of a data set in splits, no patient in two of them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Case = TypeVar("Case")


@dataclass(frozen=True)
class PatientSplits(Generic[Case]):
    """Cases of each split, in order; validation and training may be shorter than asked for, when there are no more."""

    training: list[Case]
    validation: list[Case]
    test: list[Case]


def patient_order(patient_ids: Sequence[str], seed: int) -> list[str]:
    """Return distinct patients in an order drawn by ``seed``; who comes first of two depends on these two alone.

    >>> patient_order(["1", "2", "1", "3"], seed=0) == patient_order(["3", "2", "1"], seed=0)
    True
    """
    return sorted(set(patient_ids), key=lambda patient: hashlib.sha256(f"{seed} {patient}".encode()).digest())


def split_by_patient(
    cases: Sequence[Case],
    patient_of: Callable[[Case], str],
    num_training: int,
    num_validation: int,
    num_test: int | None,
    seed: int,
    is_usable: Callable[[Case], bool] = lambda case: True,
) -> PatientSplits[Case]:
    """Split cases so that all of a patient's are in one split, or left out.

    Validation takes the first patients of :func:`patient_order` whose cases fit, training those after them, test those
    that are left, from the end. So the first training cases are the same however many are asked for, and the
    validation cases are the same whatever training takes.

    Args:
        cases: all cases, in any order.
        patient_of: the patient of a case.
        num_training: cases to take for training, at most.
        num_validation: cases to take for validation, at most.
        num_test: cases to take for test, at most; all that are left where None.
        seed: of the order of patients.
        is_usable: tells whether a case can be used; asked only about cases that come up.

    >>> cases = [f"{patient}{study}" for patient in "abcdefgh" for study in (1, 2)]
    >>> few = split_by_patient(cases, lambda case: case[0], 3, 2, None, seed=0)
    >>> many = split_by_patient(cases, lambda case: case[0], 8, 2, None, seed=0)
    >>> len(few.validation), len(few.training), many.training[:3] == few.training, many.validation == few.validation
    (2, 3, True, True)
    """
    of_patient: dict[str, list[Case]] = {}
    for case in cases:
        of_patient.setdefault(patient_of(case), []).append(case)
    waiting = patient_order(list(of_patient), seed)
    usable: dict[str, list[Case]] = {}

    def usable_cases(patient: str) -> list[Case]:
        if patient not in usable:
            usable[patient] = [case for case in of_patient[patient] if is_usable(case)]
        return usable[patient]

    validation: list[Case] = []
    too_large: list[str] = []
    while waiting and len(validation) < num_validation:
        patient = waiting.pop(0)
        if len(usable_cases(patient)) <= num_validation - len(validation):
            validation += usable_cases(patient)
        else:
            too_large.append(patient)
    waiting = too_large + waiting
    while waiting and len(validation) < num_validation:  # none fits whole: the rest of the last one's cases is not used
        validation += usable_cases(waiting.pop(0))[: num_validation - len(validation)]

    training: list[Case] = []
    while waiting and len(training) < num_training:
        training += usable_cases(waiting.pop(0))
    test: list[Case] = []
    while waiting and (num_test is None or len(test) < num_test):
        test += usable_cases(waiting.pop())
    return PatientSplits(training[:num_training], validation, test if num_test is None else test[:num_test])
