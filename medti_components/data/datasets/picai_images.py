# SPDX-License-Identifier: Apache-2.0
"""Where the volumes of PI-CAI's studies are."""

import re
from collections.abc import Iterable
from pathlib import Path

from medti_components.data.datasets.file_readers import VOLUME_SUFFIXES
from medti_components.errors import DataError

SEQUENCES = ("t2w", "adc", "hbv")

_NAME = re.compile(rf"(.+)_({'|'.join(SEQUENCES)})(?:{'|'.join(map(re.escape, VOLUME_SUFFIXES))})")


def image_folders(dataset_dir: Path) -> list[Path]:
    """Return the folders that hold volumes: ``images/``, and those of the five archives, ``*fold0/`` and so on."""
    return sorted(path for pattern in ("images", "*fold*") for path in dataset_dir.glob(pattern) if path.is_dir())


def volumes_by_study(paths: Iterable[Path]) -> dict[str, dict[str, Path]]:
    """Return the volumes of each study, ``<patient>_<study>``, by sequence; other files don't matter.

    Raises:
        DataError: a study has a sequence twice.

    >>> found = volumes_by_study([Path("images/1/1_2_t2w.mha"), Path("images/fold0/1/1_2_adc.nii.gz"), Path("1/a.txt")])
    >>> {name: sorted(volumes) for name, volumes in found.items()}
    {'1_2': ['adc', 't2w']}
    """
    found: dict[str, dict[str, Path]] = {}
    for path in paths:
        if named := _NAME.fullmatch(path.name):
            volumes = found.setdefault(named[1], {})
            if named[2] in volumes:
                raise DataError(
                    f"'{volumes[named[2]]}' and '{path}' are both the {named[2].upper()} volume of study '{named[1]}': "
                    "move one of them away"
                )
            volumes[named[2]] = path
    return found
