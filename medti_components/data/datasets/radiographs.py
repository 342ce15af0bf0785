# SPDX-License-Identifier: Apache-2.0
"""Chest radiographs with known findings, whatever data set they are of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medti_components.errors import ConfigError, DataError

FINDINGS = ("no_finding", "cardiomegaly", "pleural_effusion", "pneumonia")
VIEWS = ("AP", "PA")


@dataclass(frozen=True)
class Radiograph:
    """One frontal image of a data set's table.

    Args:
        folders: where the image may lie, the likeliest first.
        path: of the image in one of them.
        patient_id: the patient.
        study_id: of the image, unique in the data set.
        view: 'AP' or 'PA'; others, and '' for unknown, are never chosen.
        findings: those of :data:`FINDINGS` that are positive.
        uncertain: those that the report leaves open.
    """

    folders: tuple[Path, ...]
    path: str
    patient_id: str
    study_id: str
    view: str
    findings: frozenset[str]
    uncertain: frozenset[str] = frozenset()

    def file(self) -> Path:
        """Return the image file; where there is none, the likeliest place.

        Raises:
            DataError: there are two of different size.
        """
        places = [folder / self.path for folder in self.folders]
        found = [place for place in places if place.is_file()]
        others = [place for place in found if place.stat().st_size != found[0].stat().st_size]
        if others:
            raise DataError(f"'{found[0]}' and '{others[0]}' are two files of one image: move one of them away")
        return (found or places)[0]

    def shows_several(self, findings: Iterable[str]) -> bool:
        """Tell whether the image shows at least two of the diseases among ``findings``."""
        return len(self.findings & (set(findings) - {FINDINGS[0]})) > 1


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


def only_table(tables: Sequence[Path], key: str) -> Path:
    """Return the one table that was found.

    Raises:
        DataError: there are several, between which the user must choose, since labels differ from release to release.

    >>> only_table([Path("a/Data_Entry_2017.csv"), Path("a/Data_Entry_2017_v2020.csv")], "dataset_dir")
    Traceback (most recent call last):
    ...
    medti_components.errors.DataError: 'a/Data_Entry_2017.csv' and 'a/Data_Entry_2017_v2020.csv' are both tables of the
    data set: set --dataset_dir to the one that is meant
    """
    if len(tables) > 1:
        names = " and ".join(f"'{table}'" for table in tables[:2])
        raise DataError(f"{names} are both tables of the data set: set --{key} to the one that is meant")
    return tables[0]


def checked_views(views: Iterable[str]) -> tuple[str, ...]:
    """Return the views as a tuple in upper case, one alone too.

    Raises:
        ConfigError: one is neither 'AP' nor 'PA', or there is none.

    >>> checked_views(["AP"]), checked_views("pa")
    (('AP',), ('PA',))
    """
    wanted = tuple(str(view).upper() for view in ([views] if isinstance(views, str) else views))
    if not wanted or any(view not in VIEWS for view in wanted):
        raise ConfigError(f"views must be of 'AP' and 'PA', got {list(wanted)}: set --views \"['AP']\"")
    return wanted
