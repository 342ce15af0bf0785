# SPDX-License-Identifier: Apache-2.0
"""The patches of Patch Camelyon by concept and split."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
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
    files share no slide. Which slide a patch is of is in a table beside them, ``..._meta.csv`` (column ``wsi``): where
    that is there, a slide counts as a patient, else each patch does. A classifier gets no patch of a slide that the
    words have seen.

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
        self._counts: dict[tuple[str, str], str] = {}

    def counts(self) -> list[str]:
        """Tell of each file drawn from so far how many patches there are by concept, and what was left out."""
        return [f"{concept}: {count}" for (concept, _), count in sorted(self._counts.items())]

    def drawn(self, split: str, sizes: Sizes, seed: int) -> list[Entry]:
        """Return the entries of a split; the first are the same however many are asked for."""
        return self._drawn(split, sizes, seed, num_left_out=0)

    def left(self, split: str, taken: Sizes, sizes: Sizes, seed: int) -> list[Entry]:
        """Return the entries of a classifier's split, of the same file: those after the first, which ``taken`` took.

        Where slides are known, none is of a slide of those.
        """
        return self._drawn(split, sizes, seed, num_left_out=taken.of(split) or 0)

    def _drawn(self, split: str, sizes: Sizes, seed: int, num_left_out: int) -> list[Entry]:
        number, number_key = sizes.of(split), sizes.keys[SPLITS.index(split)]
        if number == 0:
            return []
        files = PatchCamelyonFiles.found(self._dataset_dir, FILE_OF_SPLIT[split], self._key)
        labels = files.labels()
        slides = files.slides(len(labels))
        orders = {label: _order(labels, split, label, seed) for label in self._labels.values()}
        beyond = f" beyond the first {num_left_out}" if num_left_out else ""
        if num_left_out and slides is not None:
            seen = {
                slides[row]
                for order in orders.values()
                for row in _distinct(files, order, num_left_out, self._skip_unreadable)[0]
            }
            is_new = np.array([slide not in seen for slide in slides])
            orders = {label: order[is_new[order]] for label, order in orders.items()}
            num_left_out, beyond = 0, f" of slides other than those of the first {num_left_out}"
        entries: list[Entry] = []
        for concept, label in self._labels.items():
            wanted = None if number is None else num_left_out + number
            rows, note = _distinct(files, orders[label], wanted, self._skip_unreadable)
            self._counts[concept, split] = (
                f"{len(labels)} patches of '{files.x.name}', {(labels == label).sum()} with label {label}, "
                f"{len(rows)} drawn{note}"
            )
            drawn = rows[num_left_out:]
            if len(drawn) < (1 if number is None else number):
                remedy = f"lower --{number_key}" if rows else f"give files that hold both classes by --{self._key}"
                raise DataError(
                    f"'{files.x}' has {len(drawn)} patches of '{concept}' (label {label}){beyond}{note}, "
                    f"{number_key} asks for {1 if number is None else number}: {remedy}"
                )
            for row in drawn:
                name = f"{FILE_OF_SPLIT[split]}_{row}"
                case = (name, "0") if slides is None else (slides[row], name)
                entries.append(
                    {
                        "image": str(files.x),
                        "row": row,
                        "label": label,
                        "concept": concept,
                        "patient_id": case[0],
                        "study_id": case[1],
                    }
                )
        return entries


def _order(labels: np.ndarray, split: str, label: int, seed: int) -> np.ndarray:
    """Return the rows of a class in the order that they are drawn in."""
    random = np.random.default_rng(stream_seed(seed, "patch camelyon", split, label))
    return random.permutation(np.flatnonzero(labels == label))


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
    left_out: Counter[str] = Counter()
    with open_patches(files.x) as patches:
        while len(order) and len(rows) != number:
            taken = order[: None if number is None else number - len(rows)]
            order = order[len(taken) :]
            # A chunk of the file may hold a bit of two thousand patches: in ascending order each is read once.
            contents = {row: _content(files, patches, row, skip_unreadable) for row in sorted(map(int, taken))}
            for row in map(int, taken):
                content = contents[row]
                if isinstance(content, str) or content in seen:
                    left_out[content if isinstance(content, str) else "repeated"] += 1
                    continue
                seen.add(content)
                rows.append(row)
    notes = [f"{left_out[words]} {words}" for words in ("repeated", "of one colour", "unreadable") if left_out[words]]
    return rows, f" (left out: {', '.join(notes)})" if notes else ""


def _content(files: PatchCamelyonFiles, patches: h5py.Dataset, row: int, skip_unreadable: bool) -> bytes | str:
    """Return a hash of a patch, or why it is left out."""
    try:
        patch = patches[row]
    except OSError as error:
        if not skip_unreadable:
            raise DataError(
                f"patch {row} of '{files.x}' is unreadable ({' '.join(str(error).split())}): download the file "
                "again, or leave such patches out by --skip_unreadable true"
            ) from error
        logger.warning("patch %d of '%s' is unreadable and left out", row, files.x)
        return "unreadable"
    return "of one colour" if (patch == patch[0, 0]).all() else hashlib.sha256(patch).digest()
