# SPDX-License-Identifier: Apache-2.0
"""The archive itself: checksums, a zip that is byte for byte the same for the same files, the model zoo's entry."""

import hashlib
import json
import zipfile
from pathlib import Path

from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_checks.stored_files import CHECKSUMS
from medti_components.errors import OutputError
from medti_components.files import write_atomically, write_text_atomically

MODEL_INFO = "model_info.json"
HOSTED = "https://github.com/Project-MONAI/model-zoo/releases/download/hosting_storage_v1"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
MODE = 0o100644 << 16


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` over all files of a bundle, as sha256sum does."""
    bundle = Bundle(folder)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {bundle.short(path)}\n" for path in bundle.files()]
    write_text_atomically(folder / CHECKSUMS, "".join(lines))


def write_archive(folder: Path, target: Path) -> int:
    """Write a bundle's files as ``<folder>/...`` into a zip and return how many they are.

    Names are sorted, times and permissions fixed, and nothing is compressed, since compressed bytes differ among zlib's
    versions.

    Raises:
        OutputError: ``target`` can't be written.
    """
    bundle = Bundle(folder)
    paths = bundle.files()
    with write_atomically(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, path in sorted((bundle.short(path), path) for path in paths):
            entry = zipfile.ZipInfo(f"{folder.name}/{name}", EPOCH)
            entry.create_system = 3  # Unix, whose permissions follow
            entry.external_attr = MODE
            archive.writestr(entry, path.read_bytes())
    return len(paths)


def write_model_info(archive: Path, source: str) -> str:
    """Add the archive to the ``model_info.json`` beside it, as the model zoo's has it, and return the entry.

    Args:
        archive: the zip.
        source: where it will be downloaded from; the model zoo's own place where that is empty.

    Raises:
        OutputError: there is a ``model_info.json`` already and it can't be read, or it can't be written.
    """
    path = archive.with_name(MODEL_INFO)
    checksum = hashlib.sha1(archive.read_bytes(), usedforsecurity=False).hexdigest()  # what the zoo's list holds
    entry = {archive.stem: {"checksum": checksum, "source": source or f"{HOSTED}/{archive.name}"}}
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        content = {**known, **entry}
    except (OSError, ValueError, TypeError) as error:
        raise OutputError(f"'{path}' can't be read ({error}): remove it or choose another --output_dir") from error
    write_text_atomically(path, json.dumps(dict(sorted(content.items())), indent=4) + "\n")
    return json.dumps(entry, indent=4)
