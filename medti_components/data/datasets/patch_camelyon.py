# SPDX-License-Identifier: Apache-2.0
"""The patches of Patch Camelyon as a datalist, by concept and split."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medti_components.data.datasets.classifier_datalist import CLASSIFIER_KEYS, renamed_keys
from medti_components.data.datasets.patch_camelyon_files import CLASSES, SPLIT_FILES, PatchCamelyonFiles, open_patches
from medti_components.data.datasets.split_sizes import SPLITS, SplitSizes
from medti_components.errors import ConfigError, DataError
from medti_components.random_streams import stream_seed

logger = logging.getLogger(__name__)

FILE_OF_SPLIT = dict(zip(SPLITS, SPLIT_FILES, strict=True))
NUMBER_KEYS = dict(zip(SPLITS, ("num_cases", "num_validation_cases", "num_test_cases"), strict=True))


def patch_camelyon_datalist(
    dataset_dir: str | Path,
    concepts: Sequence[str],
    num_cases: int,
    num_validation_cases: int,
    seed: int,
    split: str,
    skip_unreadable: bool = False,
    num_test_cases: int | None = None,
    num_left_out: int = 0,
) -> list[dict[str, Any]]:
    """List patches of one split, drawn by ``seed`` from the split's own file: train, valid or test.

    Of the files the labels are read, and the patches that are drawn. A patch that is there twice, pixel for pixel, is
    drawn once: Patch Camelyon has such. Its files share no slide, but do not say which patches of a file are of one
    patient, so that each patch counts as a patient.

    Args:
        dataset_dir: folder with ``camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5``, or with ``pcam/`` of them.
        concepts: tokens that end in ``normal>`` (label 0) or ``tumor>`` (label 1).
        num_cases: training patches of each concept; the first are the same however many are asked for.
        num_validation_cases: validation patches of each concept.
        seed: decides which patches are drawn.
        split: 'training', 'validation' or 'test'.
        skip_unreadable: draw others in place of patches that can't be read, and log those.
        num_test_cases: test patches of each concept; all where None.
        num_left_out: patches of each concept to leave out, the first that would be drawn: those that others took.

    Returns:
        entries with the path image, row (of the patch in it), label (0 or 1), concept, patient_id, study_id.

    Raises:
        ConfigError: a key does not fit.
        DataError: a file is missing, packed, unreadable or of another layout, or there are fewer patches than asked
            for.
    """
    labels_of = patch_labels(concepts)
    SplitSizes(num_cases, num_validation_cases, num_test_cases, split)
    number = {"training": num_cases, "validation": num_validation_cases, "test": num_test_cases}[split]
    if number == 0:
        return []
    files = PatchCamelyonFiles.found(dataset_dir, FILE_OF_SPLIT[split])
    labels = files.labels()
    entries: list[dict[str, Any]] = []
    for concept, label in labels_of.items():
        random = np.random.default_rng(stream_seed(seed, "patch camelyon", split, label))
        order = random.permutation(np.flatnonzero(labels == label))
        wanted = None if number is None else num_left_out + number
        rows, note = _distinct(files, order, wanted, skip_unreadable)
        drawn = rows[num_left_out:]
        if len(drawn) < (1 if number is None else number):
            left_out = f" beyond the first {num_left_out}" if num_left_out else ""
            remedy = f"lower --{NUMBER_KEYS[split]}" if rows else "give files that hold both classes by --dataset_dir"
            raise DataError(
                f"'{files.x}' has {len(drawn)} patches of '{concept}' (label {label}){left_out}{note}, "
                f"{NUMBER_KEYS[split]} asks for {1 if number is None else number}: {remedy}"
            )
        entries += [
            {
                "image": str(files.x),
                "row": row,
                "label": label,
                "concept": concept,
                "patient_id": f"{FILE_OF_SPLIT[split]}_{row}",
                "study_id": "0",
            }
            for row in drawn
        ]
    return entries


def classifier_patches(
    dataset_dir: str | Path,
    classifier_dataset_dir: str | Path | None,
    concepts: Sequence[str],
    num_cases: int,
    num_validation_cases: int,
    num_classifier_cases: int,
    num_classifier_validation_cases: int,
    seed: int,
    split: str,
    skip_unreadable: bool = False,
) -> list[dict[str, Any]]:
    """List the patches that an evaluation's classifier learns from, of the same files: none that the words took.

    What it is tried on and what generated patches are measured against is of the test file, which shares no slide with
    the others.

    Args:
        dataset_dir: the patches that the words were learned from.
        classifier_dataset_dir: other patches; None takes those of ``dataset_dir`` that the words' training left.
        concepts: as :func:`patch_camelyon_datalist` has them.
        num_cases: training patches of each concept, as the words' training had them.
        num_validation_cases: its validation patches of each concept.
        num_classifier_cases: patches of each concept that the classifier learns from.
        num_classifier_validation_cases: patches of each concept that it is validated on.
        seed: of the words' training.
        split: 'training' or 'validation', the classifier's.
        skip_unreadable: as :func:`patch_camelyon_datalist` has it.

    Raises:
        ConfigError: a key does not fit.
        DataError: as :func:`patch_camelyon_datalist` has them.
    """
    taken = {"training": num_cases, "validation": num_validation_cases}
    if split not in taken:
        raise ConfigError(f"split must be 'training' or 'validation', got '{split}': correct the datalist's split")
    has_own = classifier_dataset_dir is not None
    with renamed_keys(CLASSIFIER_KEYS if has_own else {k: v for k, v in CLASSIFIER_KEYS.items() if k != "dataset_dir"}):
        return patch_camelyon_datalist(
            dataset_dir if classifier_dataset_dir is None else classifier_dataset_dir,
            concepts,
            num_classifier_cases,
            num_classifier_validation_cases,
            seed,
            split,
            skip_unreadable,
            num_left_out=0 if has_own else taken[split],
        )


def patch_labels(concepts: Iterable[str]) -> dict[str, int]:
    """Return the label of each concept: 0 for tokens that end in ``normal>``, 1 for ``tumor>``.

    Raises:
        ConfigError: a token ends otherwise, or there is none.

    >>> patch_labels(["<histopathology_normal>", "<histopathology_tumor>"])
    {'<histopathology_normal>': 0, '<histopathology_tumor>': 1}
    """
    tokens = [concepts] if isinstance(concepts, str) else list(concepts)
    if not tokens:
        raise ConfigError("concepts must name at least one token, got []: set --concepts")
    labels = {}
    for token in tokens:
        fitting = [label for label, name in enumerate(CLASSES) if str(token).removesuffix(">").endswith(name)]
        if not fitting:
            known = " or ".join(f"'{name}>'" for name in CLASSES)
            raise ConfigError(f"concepts of histopathology must end in {known}, got '{token}': correct --concepts")
        labels[token] = fitting[0]
    return labels


def _distinct(
    files: PatchCamelyonFiles, order: np.ndarray, number: int | None, skip_unreadable: bool
) -> tuple[list[int], str]:
    """Return the first rows of ``order`` whose patches differ, and what was left out in words."""
    rows: list[int] = []
    seen: set[bytes] = set()
    num_unreadable = num_repeated = 0
    with open_patches(files.x) as patches:
        for row in map(int, order):
            if len(rows) == number:
                break
            try:
                content = hashlib.sha256(patches[row]).digest()
            except OSError as error:
                if not skip_unreadable:
                    raise DataError(
                        f"patch {row} of '{files.x}' is unreadable ({' '.join(str(error).split())}): download the file "
                        "again, or leave such patches out by --skip_unreadable true"
                    ) from error
                logger.warning("patch %d of '%s' is unreadable and left out", row, files.x)
                num_unreadable += 1
                continue
            if content in seen:
                num_repeated += 1
                continue
            seen.add(content)
            rows.append(row)
    counts = ((num_repeated, "repeated"), (num_unreadable, "unreadable"))
    notes = [f"{count} {words}" for count, words in counts if count]
    return rows, f" (left out: {', '.join(notes)})" if notes else ""
