# SPDX-License-Identifier: Apache-2.0
"""What every evaluation by a classifier does: look for images seen twice, and write what it found."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from medti_components.errors import DataError
from medti_components.files import save_tensors_atomically, write_text_atomically

Images = Dataset[dict[str, Any]]


def num_shared(first: Images, second: Images) -> int:
    """Return how many images, items with a tensor "image", are in both sets.

    >>> import torch
    >>> images = [{"image": torch.zeros(3, 2, 2)}, {"image": torch.ones(3, 2, 2)}]
    >>> num_shared(images, images[:1])
    1
    """
    return len(_contents(first) & _contents(second))


def check_classifier_apart(training_images: Images, held_out: Images) -> None:
    """Check that the classifier did not learn from what it is tried on.

    Raises:
        DataError: an image is in both sets.
    """
    shared = num_shared(training_images, held_out)
    if shared:
        raise DataError(
            f"classifier_dataset_dir must hold other studies than dataset_dir, got {shared} images in both: "
            "set --classifier_dataset_dir to studies of other patients"
        )


def write_evaluation(output_dir: Path, document: Mapping[str, Any], page: str, network: nn.Module) -> None:
    """Write ``metrics.json``, ``report.html`` and the weights of the classifier, ``classifier.safetensors``.

    Raises:
        OutputError: a file can't be written.
    """
    write_text_atomically(output_dir / "metrics.json", json.dumps(document, indent=2) + "\n")
    save_tensors_atomically(output_dir / "classifier.safetensors", network.state_dict())
    write_text_atomically(output_dir / "report.html", page)


def _contents(images: Images) -> set[bytes]:
    return {images[index]["image"].numpy().tobytes() for index in range(len(images))}  # type: ignore[arg-type]
