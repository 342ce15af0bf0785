# SPDX-License-Identifier: Apache-2.0
"""The patches of Patch Camelyon by concept and split."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from medti_components.data.datasets.patch_camelyon_files import CLASSES, SPLIT_FILES, PatchCamelyonFiles, open_patches
from medti_components.data.datasets.splits import SPLITS, Entry, Sizes
from medti_components.errors import ConfigError, DataError
from medti_components.random_streams import stream_seed

logger = logging.getLogger(__name__)

FILE_OF_SPLIT = dict(zip(SPLITS, SPLIT_FILES, strict=True))


class PatchCamelyonCases:
    """Patch Camelyon's patches, with the classes normal and tumor; each split is of the data set's own file.

    Training is drawn from the train file, validation from valid, test from test. Only the labels are read, and the
    patches that are drawn. A patch that is there twice, pixel for pixel, is drawn once: Patch Camelyon has such. A
    patch of one colour shows nothing and is never drawn. The
    files share no slide, but do not say which patches of a file are of one patient: each patch counts as a patient.

    Entries have the path image, row (of the patch in it), label (0 or 1), concept, patient_id, study_id.

    Args:
        dataset_dir: folder with ``camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5``, or with ``pcam/`` of them.
        concepts: tokens that end in ``normal>`` (label 0) or ``tumor>`` (label 1).
        skip_unreadable: draw others in place of patches that can't be read, and log those.
        key: the config key that ``dataset_dir`` comes from, for messages.

    Raises:
        ConfigError: a concept is neither.
        DataError: when patches are asked for: a file is missing, packed, unreadable or of another layout, or there are
            fewer patches than asked for.
    """

    def __init__(
        self,
        dataset_dir: str | Path,
        concepts: Sequence[str],
        skip_unreadable: bool = False,
        key: str = "dataset_dir",
    ) -> None:
        self._dataset_dir = dataset_dir
        self._labels = patch_labels(concepts)
        self._skip_unreadable = skip_unreadable
        self._key = key

    def drawn(self, split: str, sizes: Sizes, seed: int) -> list[Entry]:
        """Return the entries of a split; the first are the same however many are asked for."""
        return self._drawn(split, sizes, seed, num_left_out=0)

    def left(self, split: str, taken: Sizes, sizes: Sizes, seed: int) -> list[Entry]:
        """Return the entries of a classifier's split, of the same file: those after the first, which ``taken`` took."""
        return self._drawn(split, sizes, seed, num_left_out=taken.of(split) or 0)

    def _drawn(self, split: str, sizes: Sizes, seed: int, num_left_out: int) -> list[Entry]:
        number, number_key = sizes.of(split), sizes.keys[SPLITS.index(split)]
        if number == 0:
            return []
        files = PatchCamelyonFiles.found(self._dataset_dir, FILE_OF_SPLIT[split], self._key)
        labels = files.labels()
        entries: list[Entry] = []
        for concept, label in self._labels.items():
            random = np.random.default_rng(stream_seed(seed, "patch camelyon", split, label))
            order = random.permutation(np.flatnonzero(labels == label))
            wanted = None if number is None else num_left_out + number
            rows, note = _distinct(files, order, wanted, self._skip_unreadable)
            drawn = rows[num_left_out:]
            if len(drawn) < (1 if number is None else number):
                left_out = f" beyond the first {num_left_out}" if num_left_out else ""
                remedy = f"lower --{number_key}" if rows else f"give files that hold both classes by --{self._key}"
                raise DataError(
                    f"'{files.x}' has {len(drawn)} patches of '{concept}' (label {label}){left_out}{note}, "
                    f"{number_key} asks for {1 if number is None else number}: {remedy}"
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
    num_unreadable = num_repeated = num_blank = 0
    with open_patches(files.x) as patches:
        for row in map(int, order):
            if len(rows) == number:
                break
            try:
                patch = patches[row]
            except OSError as error:
                if not skip_unreadable:
                    raise DataError(
                        f"patch {row} of '{files.x}' is unreadable ({' '.join(str(error).split())}): download the file "
                        "again, or leave such patches out by --skip_unreadable true"
                    ) from error
                logger.warning("patch %d of '%s' is unreadable and left out", row, files.x)
                num_unreadable += 1
                continue
            if (patch == patch[0, 0]).all():
                num_blank += 1
                continue
            content = hashlib.sha256(patch).digest()
            if content in seen:
                num_repeated += 1
                continue
            seen.add(content)
            rows.append(row)
    counts = ((num_repeated, "repeated"), (num_blank, "of one colour"), (num_unreadable, "unreadable"))
    notes = [f"{count} {words}" for count, words in counts if count]
    return rows, f" (left out: {', '.join(notes)})" if notes else ""
