# SPDX-License-Identifier: Apache-2.0
"""The file that says of a folder that phantoms are in it, and what is made from them says so too."""

import json
from pathlib import Path

import medti_components
from medti_components.errors import DataError
from medti_components.files import write_text_atomically

MARKER = "phantoms.json"
DATA_FILES = (".mha", ".nii.gz", ".jpg", ".png", ".h5")


def mark_phantoms(folder: str | Path, generator: str, seed: int) -> None:
    """Write ``phantoms.json`` into a folder: the generator, its seeds so far, its version and the number of files.

    Args:
        folder: where the phantoms are.
        generator: their kind, as the command ``phantoms`` calls it.
        seed: of the last ones that were drawn.
    """
    path = Path(folder) / MARKER
    seeds = {*(json.loads(path.read_text(encoding="utf-8"))["seeds"] if path.is_file() else ()), seed}
    content = {
        "generator": f"medti phantoms {generator}",
        "seeds": sorted(seeds),
        "version": medti_components.__version__,
        "num_files": _num_files(path.parent),
    }
    write_text_atomically(path, json.dumps(content, indent=4) + "\n")


def phantoms_in(dataset_dir: str | Path | None) -> str:
    """Describe the phantoms that a data set consists of, "" where it is one of patients.

    Raises:
        DataError: the marker can't be read, or files were added since it was written.

    >>> phantoms_in("no/such")
    ''
    """
    root = Path(dataset_dir or ".")
    markers = [] if dataset_dir is None else [root / MARKER, *root.glob(f"*/{MARKER}")]
    if root.name.startswith("CheXpert"):  # the folder within that of the phantoms
        markers.append(root.resolve().parent / MARKER)
    path = next((path for path in markers if path.is_file()), None)
    if path is None:
        return ""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        seeds = ", ".join(map(str, content["seeds"]))
        said, number = (
            f"phantoms ({content['generator']} {content['version']}, seed {seeds})",
            int(content["num_files"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"'{path}' can't be read ({error}): draw the phantoms again") from error
    if (found := _num_files(path.parent)) > number:
        raise DataError(
            f"'{path.parent}' must hold the {number} files of its phantoms alone, got {found}: take the others out, or "
            f"remove '{MARKER}' if they are of patients"
        )
    return said


def data_terms(dataset_dir: str | Path | None, terms: str) -> str:
    """Return the terms of a data set, or that it consists of phantoms, which are nobody's data.

    >>> data_terms("no/such", "CC BY-NC 4.0")
    'CC BY-NC 4.0'
    """
    return phantoms_in(dataset_dir) or terms


def _num_files(folder: Path) -> int:
    return sum(path.name.endswith(DATA_FILES) for path in folder.rglob("*") if path.is_file())
