# SPDX-License-Identifier: Apache-2.0
"""Radiographs with several findings, for a classifier that judges composed images and to hold these against."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from medti_components.data.datasets.chest_xray_datalist import chest_xray_datalist
from medti_components.data.datasets.classifier_datalist import classifier_datalist, renamed_keys

CLASSIFIER_KEYS = {
    "dataset_dir": "classifier_dataset_dir",
    "num_cases": "num_several_cases",
    "num_validation_cases": "num_several_validation_cases",
}


def several_findings_datalist(
    dataset_format: str,
    dataset_dir: str | Path,
    classifier_dataset_dir: str | Path | None,
    concepts: Sequence[str],
    num_several_cases: int,
    num_several_validation_cases: int,
    num_several_test_cases: int,
    seed: int,
    split: str,
    views: Sequence[str] = ("AP",),
    single_finding: bool = True,
    skip_unreadable: bool = False,
) -> list[dict[str, Any]]:
    """List images with at least two of the concepts' findings, of patients without an image of a concept alone.

    So none of their patients is among those that the words were learned from.

    Args:
        dataset_format: 'chexpert' or 'nih'.
        dataset_dir: the images that the words were learned from; the test split is taken from here.
        classifier_dataset_dir: other images, of which training and validation split are taken; None takes what the test
            split leaves of ``dataset_dir``.
        concepts: tokens of the words.
        num_several_cases: images, of any findings, that the classifier learns from.
        num_several_validation_cases: images that it is tried on.
        num_several_test_cases: held-out images to hold composed ones against.
        seed: decides who is in which split.
        split: 'training', 'validation' or 'test'; empty where none of its images is asked for.
        views: 'AP', 'PA' or both.
        single_finding: as the words' training had it; where false, their images may show several findings, and none are
            left for here.
        skip_unreadable: leave out images whose file is missing, and log them.

    Raises:
        ConfigError: a key does not fit.
        DataError: the data set or an image is missing, or there are fewer images than asked for.
    """
    datalist = partial(
        chest_xray_datalist, dataset_format, views=views, single_finding=single_finding, several_findings=True
    )
    if split == "test":
        with renamed_keys({"num_test_cases": "num_several_test_cases"}):
            return datalist(
                dataset_dir=dataset_dir,
                concepts=concepts,
                num_cases=0,
                num_validation_cases=0,
                seed=seed,
                split=split,
                skip_unreadable=skip_unreadable,
                num_test_cases=num_several_test_cases,
            )
    if (num_several_cases, num_several_validation_cases) == (0, 0):
        return []
    return classifier_datalist(
        dataset_dir=dataset_dir,
        classifier_dataset_dir=classifier_dataset_dir,
        concepts=concepts,
        num_cases=0,
        num_validation_cases=0,
        num_test_cases=num_several_test_cases,
        num_classifier_cases=num_several_cases,
        num_classifier_validation_cases=num_several_validation_cases,
        seed=seed,
        split=split,
        skip_unreadable=skip_unreadable,
        datalist=datalist,
        keys=CLASSIFIER_KEYS,
    )
