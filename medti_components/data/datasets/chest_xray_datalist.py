# SPDX-License-Identifier: Apache-2.0
"""Chest radiographs as a datalist, from whichever public data set is at hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medti_components.data.datasets.chexpert import chexpert_datalist
from medti_components.data.datasets.nih_chest_xray import nih_chest_xray_datalist
from medti_components.errors import ConfigError

DATALISTS = {"chexpert": chexpert_datalist, "nih": nih_chest_xray_datalist}


def chest_xray_datalist(
    dataset_format: str,
    dataset_dir: str | Path,
    concepts: Sequence[str],
    num_cases: int,
    num_validation_cases: int,
    seed: int,
    split: str,
    views: Sequence[str] = ("AP",),
    skip_unreadable: bool = False,
    num_test_cases: int | None = None,
    single_finding: bool = True,
    several_findings: bool = False,
) -> list[dict[str, Any]]:
    """List images of CheXpert ('chexpert') or of NIH ChestX-ray14 ('nih').

    Args:
        dataset_format: 'chexpert' or 'nih'.
        dataset_dir, concepts, num_cases, num_validation_cases, seed, split, views, skip_unreadable, num_test_cases,
            single_finding, several_findings: as :func:`chexpert_datalist` has them.

    Raises:
        ConfigError: ``dataset_format`` is neither, or a key does not fit.
        DataError: the data set or an image is missing, or there are fewer images than asked for.

    >>> chest_xray_datalist("padchest", "data", ["<chest_xray_pneumonia>"], 100, 20, seed=0, split="training")
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: dataset_format must be 'chexpert' or 'nih', got 'padchest': correct
    --dataset_format
    """
    if dataset_format not in DATALISTS:
        names = " or ".join(f"'{name}'" for name in DATALISTS)
        raise ConfigError(f"dataset_format must be {names}, got '{dataset_format}': correct --dataset_format")
    return DATALISTS[dataset_format](
        dataset_dir=dataset_dir,
        concepts=concepts,
        num_cases=num_cases,
        num_validation_cases=num_validation_cases,
        seed=seed,
        split=split,
        views=views,
        skip_unreadable=skip_unreadable,
        num_test_cases=num_test_cases,
        single_finding=single_finding,
        several_findings=several_findings,
    )
