# SPDX-License-Identifier: Apache-2.0
"""Files of a bundle as bytes: sizes and hashes."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from monai.apps import check_hash
from monai.bundle import ConfigParser

from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_checks.check_result import CheckSkipped

LARGE_FILES = "large_files.yml"
CHECKSUMS = "SHA256SUMS"
LARGE_BYTES = 25_000_000
HASHES = ("md5", "sha1", "sha256", "sha512")


def large_files(bundle: Bundle) -> Iterator[str]:
    """Each file of 25 MB and more is in ``large_files.yml``, all of whose entries have path, address and hash."""
    listed, problems = _listed(bundle)
    yield from problems
    for path in bundle.files():
        size = path.stat().st_size if path.is_file() else 0
        if size >= LARGE_BYTES and bundle.short(path) not in listed:
            remedy = f"list it in {LARGE_FILES} with path, url, hash_val and hash_type"
            yield f"{bundle.short(path)} has {size / 1e6:.0f} MB, of 25 MB and more: {remedy}"


def checksums(bundle: Bundle) -> Iterator[str]:
    """Files are what ``large_files.yml`` and ``SHA256SUMS`` say; the latter covers every file of a packaged bundle."""
    listed, _ = _listed(bundle)
    sums = bundle.folder / CHECKSUMS
    if not bundle.is_packaged and not listed and not sums.is_file():
        raise CheckSkipped(f"neither {LARGE_FILES} nor {CHECKSUMS}: the bundle is in its source form")
    for name, entry in listed.items():
        if (bundle.folder / name).is_file():
            yield from _hash_problems(bundle.folder, name, entry["hash_type"], entry["hash_val"], LARGE_FILES)
    if not sums.is_file():
        if bundle.is_packaged:
            yield f"{CHECKSUMS} is missing: package the bundle anew, or write it with sha256sum"
        return
    known = set()
    for number, line in enumerate(sums.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        value, _, name = line.partition("  ")
        if len(value) != 64 or not _is_inside(name):
            wanted = "a SHA-256, two spaces and a path"
            yield f"{CHECKSUMS}, line {number} must be {wanted}, got '{line[:100]}': write it with sha256sum"
            continue
        known.add(name)
        yield from _hash_problems(bundle.folder, name, "sha256", value, CHECKSUMS)
    for path in bundle.files():
        if bundle.short(path) not in known | {CHECKSUMS}:
            yield f"{bundle.short(path)} is not in {CHECKSUMS}: add it, or remove the file"


def _listed(bundle: Bundle) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the usable entries of ``large_files.yml`` by path, and what is wrong with the others."""
    path = bundle.folder / LARGE_FILES
    if not path.is_file():
        return {}, []
    remedy = "a list 'large_files' of entries with path, url, hash_val and hash_type"
    try:
        content = ConfigParser.load_config_file(path)["large_files"]
        entries = [{key: entry.get(key) for key in ("path", "url", "hash_val", "hash_type")} for entry in content]
    except Exception as error:  # whatever YAML makes of it
        return {}, [f"{LARGE_FILES} can't be read ({type(error).__name__}: {error}): write {remedy}"]
    problems, usable = [], {}
    for entry in entries:
        if not all(isinstance(value, str) and value for value in entry.values()):
            problems.append(f"{LARGE_FILES}: {entry} is incomplete: write {remedy}")
        elif entry["hash_type"] not in HASHES:
            problems.append(f"{LARGE_FILES}: hash_type must be one of {', '.join(HASHES)}, got '{entry['hash_type']}'")
        elif not _is_inside(entry["path"]):
            problems.append(f"{LARGE_FILES}: path '{entry['path']}' is not within the bundle: make it relative")
        else:
            usable[entry["path"]] = entry
    return usable, problems


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts


def _hash_problems(folder: Path, name: str, kind: str, expected: str, source: str) -> Iterator[str]:
    if not (folder / name).is_file():
        yield f"{name} is listed in {source} and missing: restore it, or remove its line"
        return
    if not check_hash(folder / name, expected.lower(), kind):
        yield f"{name} has another {kind} than {source} says ({expected[:100]}): restore the file, or correct the hash"
