# SPDX-License-Identifier: Apache-2.0
"""Which mask of a PI-CAI study is taken: the label repository gets new folders of them from year to year."""

import re
from pathlib import Path

LESIONS = Path("picai_labels") / "csPCa_lesion_delineations"
GLANDS = Path("picai_labels") / "anatomical_delineations" / "whole_gland"

# Of the gland masks by AI this one stays the first, so that the slices of negatives are those of earlier results: in 37
# of 300 studies the median slice of Guerbet23's mask is the next one.
_FIRST_BY_AI = "Bosma22b"
_NAME_AND_YEAR = re.compile(r"\D(\d\d)([a-z]?)$")


def masks_by_study(folder: Path) -> dict[str, list[Path]]:
    """Return the masks of each study, ``<patient>_<study>``, the best first.

    Human masks come before those in ``AI/``, whatever the folders below are called. Among several of one kind,
    ``resampled`` comes first, then the newest by the year that its folder's name ends in (``Pooch25``), then those
    without a year.

    Args:
        folder: ``csPCa_lesion_delineations`` or ``whole_gland``.

    >>> masks_by_study(Path("no such folder"))
    {}
    """
    masks: dict[str, list[Path]] = {}
    for path in folder.rglob("*.nii.gz"):
        masks.setdefault(path.name.removesuffix(".nii.gz"), []).append(path)
    return {name: sorted(paths, key=lambda path: _rank(mask_source(path, folder))) for name, paths in masks.items()}


def mask_source(path: Path, folder: Path) -> str:
    """Return who made a mask, by its folders in ``folder``.

    >>> mask_source(Path("lesions/human_expert/Pooch25/1_2.nii.gz"), Path("lesions"))
    'human_expert/Pooch25'
    """
    return path.parent.relative_to(folder).as_posix()


def _rank(source: str) -> tuple[bool, bool, bool, int, str]:
    """Return what masks are sorted by, the best first.

    >>> sorted(["AI/Bosma22a", "human_expert/original", "human_expert/Pooch25", "human_expert/resampled"], key=_rank)
    ['human_expert/resampled', 'human_expert/Pooch25', 'human_expert/original', 'AI/Bosma22a']
    >>> sorted(["AI/Bosma22b", "AI/Guerbet23", "human_expert/Someone27b", "human_expert/Someone27a"], key=_rank)
    ['human_expert/Someone27b', 'human_expert/Someone27a', 'AI/Bosma22b', 'AI/Guerbet23']
    """
    kind, _, folder = source.partition("/")
    year = _NAME_AND_YEAR.search(folder)
    age = -(int(year[1]) * 1000 + ord(year[2] or "`")) if year else 0
    return kind.casefold() == "ai", folder != "resampled", folder != _FIRST_BY_AI, age, source
