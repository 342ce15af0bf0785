# SPDX-License-Identifier: Apache-2.0
"""What every evaluation by a classifier does: look for images seen twice, and write what it found."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from medti_components.errors import ConfigError, DataError
from medti_components.evaluation.evaluation_part import EvaluatedImages, EvaluationPart
from medti_components.evaluation.sharing_verdict import SharingCheck, SharingVerdict
from medti_components.files import save_tensors_atomically, write_text_atomically
from medti_components.metrics.interval_estimate import plain_figures
from medti_components.visualize.report_page import add_sections, add_verdict

logger = logging.getLogger(__name__)

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
    save_tensors_atomically(output_dir / "classifier.safetensors", network.state_dict())
    write_figures(output_dir, document, page)


def write_figures(output_dir: Path, document: Mapping[str, Any], page: str) -> None:
    """Write ``metrics.json`` and ``report.html``.

    Raises:
        OutputError: a file can't be written.
    """
    write_text_atomically(output_dir / "metrics.json", json.dumps(document, indent=2) + "\n")
    write_text_atomically(output_dir / "report.html", page)


def run_parts(
    parts: Sequence[EvaluationPart],
    images: EvaluatedImages | None,
    document: Mapping[str, Any],
    page: str,
    output_dir: Path,
    verdict: SharingVerdict | None = None,
) -> dict[str, Any]:
    """Run ``parts`` one after the other; both files are written after each, so that a failing one spoils no other.

    The verdict on what they found comes last, in both files and as the last line of the log.

    Args:
        parts: in the order of the report.
        images: what they look at; None where nothing was generated, then no part runs.
        document: what ``metrics.json`` holds already.
        page: what ``report.html`` holds already.
        output_dir: folder of both files.
        verdict: joins the parts' checks, or None.

    Returns:
        ``document``, the figures of each part under its name, and "verdict".

    Raises:
        ConfigError: a part has the name of what is there already.
        MedtiError: a part's own.
    """
    document = dict(document)
    checks: list[SharingCheck] = []
    for part in parts:
        if images is None:
            break
        result = part(images)
        if result.name in document:
            raise ConfigError(f"parts must have a name each, got '{result.name}' twice: take one out of parts")
        checks += result.checks
        document[result.name] = plain_figures(result.figures)
        page = add_sections(page, result.html, result.summary)
        write_figures(output_dir, document, page)
        logger.info("%s: added to %s", result.name, output_dir / "metrics.json")
    if verdict is not None:
        document["verdict"] = verdict(checks)
        page = add_verdict(page, document["verdict"]["verdict"], document["verdict"]["is_safe"])
        write_figures(output_dir, document, page)
        logger.info("Verdict: %s", document["verdict"]["verdict"])
    return document


def _contents(images: Images) -> set[bytes]:
    return {images[index]["image"].numpy().tobytes() for index in range(len(images))}  # type: ignore[arg-type]
