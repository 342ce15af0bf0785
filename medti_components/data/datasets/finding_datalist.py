# SPDX-License-Identifier: Apache-2.0
"""Cases of two classes as a datalist, from whichever of the supported public data sets is at hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medti_components.data.datasets.chest_xray_datalist import DATALISTS as RADIOGRAPH_FORMATS
from medti_components.data.datasets.chest_xray_datalist import chest_xray_datalist
from medti_components.data.datasets.patch_camelyon import patch_camelyon_datalist
from medti_components.data.datasets.picai import picai_datalist
from medti_components.errors import ConfigError

DATASET_FORMATS = ("picai", *RADIOGRAPH_FORMATS, "pcam")


def finding_datalist(
    dataset_format: str,
    dataset_dir: str | Path,
    concepts: Sequence[str],
    num_cases: int,
    num_validation_cases: int,
    num_test_cases: int | None,
    seed: int,
    split: str,
    views: Sequence[str] = ("AP",),
    skip_unreadable: bool = False,
) -> list[dict[str, Any]]:
    """List cases of one split, the label of each the place of its concept among the two.

    Args:
        dataset_format: 'picai', 'chexpert', 'nih' or 'pcam'.
        dataset_dir: the data set.
        concepts: tokens of the negative and the positive class, in this order.
        num_cases, num_validation_cases, num_test_cases, seed, split, skip_unreadable: as :func:`picai_datalist` has
            them.
        views: of radiographs, 'AP', 'PA' or both.

    Returns:
        entries as the format's own datalist has them, with label 0 or 1.

    Raises:
        ConfigError: a key does not fit.
        DataError: the data set or a file of a case is missing, or there are fewer cases than asked for.

    >>> finding_datalist("dicom", "data", ["<a_negative>", "<a_positive>"], 1, 1, 1, seed=0, split="training")
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: dataset_format must be one of picai, chexpert, nih, pcam, got 'dicom': correct
    --dataset_format
    """
    check_dataset_format(dataset_format)
    tokens = checked_classes(concepts)
    sizes: dict[str, Any] = {
        "num_cases": num_cases,
        "num_validation_cases": num_validation_cases,
        "num_test_cases": num_test_cases,
    }
    shared: dict[str, Any] = {**sizes, "seed": seed, "split": split, "skip_unreadable": skip_unreadable}
    if dataset_format in RADIOGRAPH_FORMATS:
        entries = chest_xray_datalist(dataset_format, dataset_dir, tokens, views=views, **shared)
    else:
        datalist = picai_datalist if dataset_format == "picai" else patch_camelyon_datalist
        entries = datalist(dataset_dir, tokens, **shared)
    return [{**entry, "label": tokens.index(entry["concept"])} for entry in entries]


def check_dataset_format(dataset_format: str) -> None:
    """Check that a data set's format is known.

    Raises:
        ConfigError: it is not.
    """
    if dataset_format not in DATASET_FORMATS:
        raise ConfigError(
            f"dataset_format must be one of {', '.join(DATASET_FORMATS)}, got '{dataset_format}': "
            "correct --dataset_format"
        )


def checked_classes(concepts: Sequence[str]) -> list[str]:
    """Return the two classes.

    Raises:
        ConfigError: there are not two different ones.

    >>> checked_classes(("<a_negative>", "<a_positive>"))
    ['<a_negative>', '<a_positive>']
    """
    tokens = [concepts] if isinstance(concepts, str) else [str(token) for token in concepts]
    if len(set(tokens)) != 2 or len(tokens) != 2:
        raise ConfigError(
            f"concepts must name the negative and the positive class, got {tokens}: "
            "set --concepts \"['<..._negative>','<..._positive>']\""
        )
    return tokens
