# SPDX-License-Identifier: Apache-2.0
"""What a bundle's folder holds: structure, metadata, texts for readers, large files and checksums."""

import json
import pickle
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from jsonschema import Draft201909Validator
from monai.apps import check_hash
from monai.bundle import ConfigParser

from medti_components.apps.bundle_checks.bundle import METADATA, Bundle
from medti_components.apps.bundle_checks.check_result import CheckSkipped
from medti_components.bundle.keys import entries
from medti_components.bundle.run import BUNDLE_CONFIGS

RUN_IDS = {
    "train.json": ("training",),
    "inference.json": ("generating", "classifying"),
    "evaluate.json": ("evaluating",),
}
INITIALIZE = {"_target_": "medti_components.bundle.run.initialize"}


def structure(bundle: Bundle) -> Iterator[str]:
    """Required files are there, JSON files can be read, and no file is a symbolic link."""
    for name, reason in bundle.unreadable.items():
        yield f"configs/{name} can't be read ({reason}): correct its JSON"
    required = [f"configs/{METADATA}", "configs/logging.conf", "docs/README.md"]
    if bundle.is_packaged:  # the zoo's own checks are handed inference.json alone
        required.append("configs/inference.json")
    for name in required:
        if not (bundle.folder / name).is_file():
            yield f"{name} is missing: write it"
    if not bundle.configs and not bundle.unreadable:
        yield f"configs/ has none of {', '.join(BUNDLE_CONFIGS)}: write what the bundle can run"
    for path in bundle.files():
        if path.is_symlink():
            yield f"{bundle.short(path)} is a symbolic link: put the file itself there"


def run_ids(bundle: Bundle) -> Iterator[str]:
    """Each config has its own run id and MONAI's default ``run``, and first makes errors readable."""
    for name, config in bundle.configs.items():
        for wanted in (RUN_IDS[name], ("run",)):
            if not any(isinstance(_macro_resolved(config, run_id), list) for run_id in wanted):
                yield f"configs/{name} has no list '{' or '.join(wanted)}': add it, with the expressions to run"
        first = config.get("initialize")
        if not bundle.is_packaged and not (isinstance(first, list) and first[:1] == [INITIALIZE]):
            yield f"configs/{name}: 'initialize' must be a list that begins with {INITIALIZE}: put it first"


def _macro_resolved(config: Mapping[str, Any], key: str) -> Any:
    """Return a top-level value, or the value of its macro.

    >>> _macro_resolved({"training": ["$1"], "run": "%training"}, "run")
    ['$1']
    """
    value = config.get(key)
    return config.get(value[1:]) if isinstance(value, str) and value.startswith("%") else value


def state_dict(bundle: Bundle) -> Iterator[str]:
    """``models/model.pt`` of a packaged bundle is a plain state dict: tensors by name, loaded without running code."""
    if not bundle.is_packaged:
        raise CheckSkipped("no models/model.pt: the bundle is in its source form")
    remedy = "save a plain state dict, torch.save({name: tensor, ...}, 'models/model.pt')"
    try:
        content = torch.load(bundle.folder / "models" / "model.pt", map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        yield f"models/model.pt can't be loaded with weights_only=True ({str(error).splitlines()[0]}): {remedy}"
        return
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        yield f"models/model.pt must hold tensors by name, got {type(content).__name__}: {remedy}"


VERSION = re.compile(r"\d+(\.\d+){2}([.-]?(a|b|rc|dev|post)\d+)?")


def metadata_schema() -> dict[str, Any]:
    """Return the JSON schema of metadata: what MONAI's ``meta_schema_20240725.json`` asks for, and a little more.

    >>> metadata_schema()["required"][:2]
    ['schema', 'version']
    """
    schema: dict[str, Any] = json.loads(files(__package__).joinpath("metadata_schema.json").read_text("utf-8"))
    return schema


def metadata(bundle: Bundle) -> Iterator[str]:
    """The metadata fits the schema, without a network."""
    content = _content(bundle)
    errors = Draft201909Validator(metadata_schema()).iter_errors(content)
    for error in sorted(errors, key=lambda error: error.json_path):
        place = "::".join(str(part) for part in error.absolute_path)
        message = error.message if len(error.message) < 200 else f"{error.message[:200]}..."
        remedy = "add it" if error.validator == "required" else error.schema.get("description", "correct the value")
        yield f"configs/{METADATA}: {f'{place}: ' if place else ''}{message}: {remedy}"


def changelog(bundle: Bundle) -> Iterator[str]:
    """The version is in the changelog, and each version there says what is new."""
    content = _content(bundle)
    version, versions = content.get("version"), content.get("changelog")
    if not isinstance(versions, dict):
        yield f"configs/{METADATA} has no object 'changelog': add one, a line of text for each version"
        return
    if version not in versions:
        yield f"configs/{METADATA}: version '{version}' is not in the changelog: add it, with what is new"
    for key, text in versions.items():
        if not VERSION.fullmatch(key):
            yield f"configs/{METADATA}: changelog: '{key}' is no version such as 0.1.0: correct it"
        if not isinstance(text, str) or not text.strip():
            yield f"configs/{METADATA}: changelog: '{key}' does not say what is new: write it"


def _content(bundle: Bundle) -> dict[str, Any]:
    if bundle.metadata is None:
        raise CheckSkipped(f"configs/{METADATA} can't be read: see structure")
    return bundle.metadata


SECTIONS = ("overview", "data", "performance")
LICENCES = ("LICENSE", "docs/data_license.txt")
ROOTS = "home|Users|root|mnt|media|tmp|var|opt|srv|scratch|work|workspace|private|Volumes"
PERSONAL_PATH = re.compile(rf"(?<![\w.:/\\$}}<~-])(?:/(?:{ROOTS})/|~/|[A-Z]:[\\/]\w)[^\s'\"`)]*|file://\S*")
ABSOLUTE_PATH = re.compile(r"/|~|[A-Za-z]:[\\/]|.*[/'\"](?:home|root|work|mnt|data|Users)/", re.DOTALL)


def docs(bundle: Bundle) -> Iterator[str]:
    """The page has its sections, a command for each config, and no broken links."""
    page = bundle.folder / "docs" / "README.md"
    if not page.is_file():
        yield "docs/README.md is missing: write it"
        return
    text = page.read_text(encoding="utf-8", errors="replace")
    headings = " ".join(re.findall(r"^#+ (.*)$", text, re.MULTILINE)).lower()
    for section in SECTIONS:
        if not re.search(rf"\b{section}\b", headings):
            yield f"docs/README.md has no section on {section}: add a heading '## {section.capitalize()}'"
    commands = [block for block in re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE) if "bundle run" in block]
    for name in bundle.configs:
        if not any(f"configs/{name}" in command for command in commands):
            yield f"docs/README.md shows no command that runs configs/{name}: add a block with 'monai.bundle run'"
    for link in re.findall(r"\]\((?!\w+:)([^)#\s]+)", text):
        target = (page.parent / link).resolve()
        if not target.exists():
            yield f"docs/README.md links to '{link}', which is not there: correct the link"
        elif bundle.is_packaged and not target.is_relative_to(bundle.folder.resolve()):
            yield f"docs/README.md links to '{link}', outside of the bundle: link to a web address"


def licence(bundle: Bundle) -> Iterator[str]:
    """The licence of code and weights and the terms of the data are there."""
    for name in LICENCES:
        path = bundle.folder / name
        if not path.is_file():
            yield f"{name} is missing: add it"
        elif not path.read_text(encoding="utf-8", errors="replace").strip():
            yield f"{name} is empty: write the terms"


def paths(bundle: Bundle) -> Iterator[str]:
    """No config or overlay has an absolute path, and no text file a path of somebody's machine."""
    for name, config in {**bundle.configs, **bundle.overlays}.items():
        for place, value in entries(config):
            if isinstance(value, str) and not place.endswith("_desc_") and ABSOLUTE_PATH.match(value):
                yield f"configs/{name}: {place}: absolute path '{value}': make it relative, or a key to be set"
    for path in bundle.files():
        text = _text(path)
        for number, line in enumerate(text.splitlines() if text else (), start=1):
            if found := PERSONAL_PATH.search(line):
                yield f"{bundle.short(path)}, line {number}: path of a machine '{found[0]}': leave it out"


def _text(path: Path) -> str | None:
    """Return the content of a text file, or None for binary files and broken links."""
    if not path.is_file():
        return None
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


LARGE_FILES = "large_files.yml"
CHECKSUMS = "SHA256SUMS"
LARGE_BYTES = 25_000_000
MAX_BYTES_IN_GIT = 1024 * 1024
"""The model zoo's pre-commit refuses larger files."""
HASHES = ("md5", "sha1", "sha256", "sha512")


def large_files(bundle: Bundle) -> Iterator[str]:
    """Each file of 25 MB and more, or over 1 MB if packaged, is in ``large_files.yml``, with path, address and hash."""
    listed, problems = _listed(bundle)
    yield from problems
    least, limit = (MAX_BYTES_IN_GIT + 1, "over 1 MB") if bundle.is_packaged else (LARGE_BYTES, "of 25 MB and more")
    for path in bundle.files():
        size = path.stat().st_size if path.is_file() else 0
        if size >= least and bundle.short(path) not in listed:
            remedy = f"list it in {LARGE_FILES} with path, url, hash_val and hash_type"
            yield f"{bundle.short(path)} has {size / 1e6:.0f} MB, {limit}: {remedy}"


def checksums(bundle: Bundle) -> Iterator[str]:
    """Files have the hashes of ``large_files.yml`` and ``SHA256SUMS``, which covers all files of a packaged bundle."""
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
