# SPDX-License-Identifier: Apache-2.0
"""Phantom chest radiographs on disk, in the files, folders and table of CheXpert."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from tqdm import tqdm

from medti_components.data.datasets.chexpert import COLUMNS, COLUMNS_OF_FINDINGS, TABLE
from medti_components.data.datasets.radiographs import FINDINGS
from medti_components.data.phantoms.chest_phantom import ChestPhantom, chest_phantom
from medti_components.errors import ConfigError, OutputError
from medti_components.files import ensure_writable_directory, write_atomically, write_text_atomically
from medti_components.random_streams import stream_seed

FOLDER = "CheXpert-v1.0-phantom"
DISEASES = FINDINGS[1:]
OTHER_KINDS = ("several_findings", "other_view", "uncertain")
MAX_IMAGES = 100_000  # of a kind

_KINDS = (*FINDINGS, *OTHER_KINDS)
_SECOND_STUDY_EVERY = 10
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class PhantomCase:
    """One image to be drawn: the kind of case, its number among those, what it shows and what the table says.

    Every tenth image of a kind is the second study of the patient before it.
    """

    kind: str
    index: int
    patient_index: int
    patient_id: str
    study: int
    view: str
    findings: tuple[str, ...]
    labels: Mapping[str, float]

    @classmethod
    def of(cls, seed: int, kind: str, index: int) -> "PhantomCase":
        """Return the case at ``index`` of its kind; it depends on the arguments alone.

        >>> case = PhantomCase.of(seed=0, kind="pneumonia", index=9)
        >>> case.patient_id, case.study, case.view, case.findings
        ('patient1300008', 2, 'AP', ('pneumonia',))
        """
        is_second = index % _SECOND_STUDY_EVERY == _SECOND_STUDY_EVERY - 1
        patient_index = index - is_second
        number = 10 * MAX_IMAGES * (seed + 1) + MAX_IMAGES * _KINDS.index(kind) + patient_index
        random = np.random.default_rng(stream_seed(seed, "chest phantom case", kind, patient_index))
        shown, labels = _findings(random, kind)
        view = "PA" if kind == "other_view" else "AP"
        return cls(kind, index, patient_index, f"patient{number}", 1 + is_second, view, shown, labels)

    @property
    def path(self) -> str:
        """Where the image lies, as in the column Path."""
        return f"{FOLDER}/train/{self.patient_id}/study{self.study}/view1_frontal.jpg"

    def phantom(self, seed: int) -> ChestPhantom:
        """Draw the image."""
        return chest_phantom(seed, self.kind, self.index, self.findings, self.view, self.patient_index)


def _findings(random: np.random.Generator, kind: str) -> tuple[tuple[str, ...], dict[str, float]]:
    """Return the diseases that are shown, and the values of the findings' columns in the table."""
    if kind in FINDINGS:
        shown: tuple[str, ...] = (kind,) if kind in DISEASES else ()
        return shown, {kind: 1.0}
    if kind == "several_findings":
        chosen = random.permutation(DISEASES)[: int(random.integers(2, 4))].tolist()
        shown = tuple(name for name in DISEASES if name in chosen)
        return shown, dict.fromkeys(shown, 1.0)
    if kind == "other_view":
        name = str(random.choice(FINDINGS))
        return ((name,) if name in DISEASES else ()), {name: 1.0}
    first, second = random.permutation(DISEASES)[:2].tolist()
    shown = (first, second) if random.random() < 0.5 else (first,)
    return shown, {first: 1.0, second: -1.0}


def write_chest_studies(
    output_dir: str | Path,
    num_of_findings: Mapping[str, int],
    seed: int,
    share_of_others: float = 0.25,
    show_progress: bool = True,
) -> list[str]:
    """Write phantom radiographs as CheXpert has them, and return their paths relative to ``output_dir``.

    Under ``output_dir/CheXpert-v1.0-phantom``: ``train/<patient>/study<n>/view1_frontal.jpg`` and ``train.csv``. A case
    depends on ``seed``, its kind and its number among those of its kind alone. Phantoms that are there already stay.

    Args:
        output_dir: folder to write to; ``dataset_dir`` for :func:`chexpert_datalist`.
        num_of_findings: how many AP images show each of :data:`FINDINGS`, and none of the others.
        seed: another one gives other patients, with other numbers.
        share_of_others: as many more images, as a share of those: with several findings, in PA view, and with a
            finding that is uncertain, in turn.
        show_progress: whether a bar with the time left goes to stderr.

    Raises:
        ConfigError: a number is negative, or more than a hundred thousand images of a kind are asked for.
        OutputError: the folder is not writable, or its table lists patients.
    """
    cases = _cases(num_of_findings, seed, share_of_others)
    folder = ensure_writable_directory(output_dir)
    table_path = folder / FOLDER / TABLE
    rows = _listed_phantoms(table_path)
    for case in tqdm(cases, desc="phantom radiographs", unit="image", disable=not show_progress):
        phantom = case.phantom(seed)
        with write_atomically(folder / case.path) as temporary:
            Image.fromarray(phantom.image).save(temporary, format="JPEG", quality=_JPEG_QUALITY)
        rows[case.path] = _row(case, phantom, seed)
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(row for _, row in sorted(rows.items()))
    write_text_atomically(table_path, text.getvalue())
    return [case.path for case in cases]


def _cases(num_of_findings: Mapping[str, int], seed: int, share_of_others: float) -> list[PhantomCase]:
    for key, value in (*((f"num_{name}", number) for name, number in num_of_findings.items()), ("seed", seed)):
        limit = 2**63 if key == "seed" else MAX_IMAGES
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
            raise ConfigError(f"{key} must be a whole number from 0 to {limit}, got {value!r}: correct --{key}")
    if isinstance(share_of_others, bool) or not 0 <= share_of_others <= 1:
        raise ConfigError(
            f"share_of_others must be a number from 0 to 1, got {share_of_others!r}: correct --share_of_others"
        )
    num_of_kinds = {**num_of_findings, **dict.fromkeys(OTHER_KINDS, 0)}
    for index in range(round(share_of_others * sum(num_of_findings.values()))):
        num_of_kinds[OTHER_KINDS[index % len(OTHER_KINDS)]] += 1
    return [PhantomCase.of(seed, kind, index) for kind, number in num_of_kinds.items() for index in range(number)]


def _listed_phantoms(table_path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a table that phantoms were written beside before, by path."""
    if not table_path.is_file():
        return {}
    with open(table_path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if any(PurePosixPath(row.get("Path") or "").parts[:1] != (FOLDER,) for row in rows):
        raise OutputError(f"'{table_path}' lists images that are no phantoms: choose another --output_dir")
    return {row["Path"]: row for row in rows}


def _row(case: PhantomCase, phantom: ChestPhantom, seed: int) -> dict[str, str]:
    """Return the row of the table; most of what is not shown is blank there, as in CheXpert, some of it 0."""
    random = np.random.default_rng(stream_seed(seed, "chest phantom table", case.kind, case.index))
    patient = np.random.default_rng(stream_seed(seed, "chest phantom patient", case.kind, case.patient_index))
    row = dict.fromkeys(COLUMNS, "")
    row |= {
        "Path": case.path,
        "Sex": "Female" if phantom.is_female else "Male",
        "Age": str(patient.integers(18, 91)),
        "Frontal/Lateral": "Frontal",
        "AP/PA": case.view,
        "Support Devices": "1.0" if phantom.has_devices else "",
    }
    for column, name in COLUMNS_OF_FINDINGS.items():
        absent = "0.0" if name in DISEASES and random.random() < 0.15 else ""
        row[column] = f"{case.labels[name]:.1f}" if name in case.labels else absent
    if "pneumonia" in case.findings:
        row["Lung Opacity"] = "1.0"
    return row
