# SPDX-License-Identifier: Apache-2.0
"""The studies that an evaluation's classifier learns from, as a datalist of their own."""

import re
from typing import Any

from medti_components.data.picai import picai_datalist
from medti_components.errors import MedtiError

CLASSIFIER_KEYS = {
    "dataset_dir": "classifier_dataset_dir",
    "num_cases": "num_classifier_cases",
    "num_validation_cases": "num_classifier_validation_cases",
}


def classifier_datalist(**arguments: Any) -> list[dict[str, Any]]:
    """List studies by :func:`picai_datalist`; errors name the keys that hold the classifier's settings.

    Args:
        **arguments: those of ``picai_datalist``.

    Raises:
        MedtiError: of the kind that ``picai_datalist`` raises.

    >>> concepts = ["<a_negative>", "<a_positive>"]
    >>> classifier_datalist(
    ...     dataset_dir="none", concepts=concepts, num_cases=1, num_validation_cases=1, seed=0, split="training"
    ... )
    Traceback (most recent call last):
    ...
    medti_components.errors.DataError: classifier_dataset_dir 'none' does not exist: set --classifier_dataset_dir ...
    """
    try:
        return picai_datalist(**arguments)
    except MedtiError as error:
        names = "|".join(CLASSIFIER_KEYS)
        raise type(error)(re.sub(rf"\b({names})\b", lambda found: CLASSIFIER_KEYS[found[1]], str(error))) from error
