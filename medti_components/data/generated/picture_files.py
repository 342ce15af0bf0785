# SPDX-License-Identifier: Apache-2.0
"""Which pictures a folder holds: files that lie in it, or those of a generating run."""

from pathlib import Path

from medti_components.data.generated.generated_folder import GeneratedFolder
from medti_components.data.generated.provenance import PROVENANCE_FILE
from medti_components.errors import DataError

ENDINGS = (".png", ".jpg", ".jpeg")


def picture_files(folder: str | Path, key: str) -> list[Path]:
    """Return the PNG and JPEG files in ``folder`` and the folders in it, sorted; hidden ones are left out.

    Raises:
        DataError: the folder does not exist or holds none; ``key`` is where it came from.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{key} '{root}' is no folder: correct --{key}")
    paths = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in ENDINGS and path.is_file()]
    shown = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    if not shown:
        raise DataError(f"{key} '{root}' holds no PNG or JPEG: correct --{key}")
    return shown


def is_generated(folder: str | Path) -> bool:
    """Tell whether ``folder`` is the ``output_dir`` of a generating run, or holds such folders."""
    root = Path(folder)
    return (root / PROVENANCE_FILE).is_file() or any(root.glob(f"*/{PROVENANCE_FILE}"))


def generated_files(folder: str | Path, concept: str = "", key: str = "generated_dir") -> list[Path]:
    """Return the images of a generating run, or all pictures of a folder of another origin.

    Args:
        folder: a run's ``output_dir``, a folder of several runs' ones, or any folder of pictures.
        concept: a token; those images alone whose prompt asks for it. Needs a run's ``provenance.jsonl``.
        key: where ``folder`` came from, for messages.

    Raises:
        DataError: there is none, or nothing says what the pictures were generated from.
    """
    if not is_generated(folder):
        if concept:
            raise DataError(
                f"{key} '{folder}' has no {PROVENANCE_FILE} that says which images are of {concept}: leave out "
                "--concept, or give the output_dir of a generating run"
            )
        return picture_files(folder, key)
    lines = GeneratedFolder(folder, image_size=0, key=key).lines
    paths = [line.path for line in lines if not concept or line.asks_for(concept)]
    if not paths:
        raise DataError(f"{key} '{folder}' holds no image{f' of {concept}' if concept else ''}: generate some")
    return paths
