# SPDX-License-Identifier: Apache-2.0
"""The archive: its weights, configs and model card, checksums, the zip, and the entry for the model zoo.

The same files give the same zip, byte for byte.
"""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medti_components.apps.bundle_checks.bundle import METADATA, Bundle
from medti_components.apps.bundle_checks.contents import CHECKSUMS, MAX_BYTES_IN_GIT, VERSION
from medti_components.apps.bundle_package.model_card import EvaluationSummary, ModelCard
from medti_components.apps.bundle_package.packed_weights import pack_weights
from medti_components.apps.bundle_package.standalone_configs import (
    base_model_folder,
    base_model_sizes,
    pack_base_model,
)
from medti_components.apps.key_tables import with_key_tables
from medti_components.bundle.schema import SCHEMA, ConfigSchema
from medti_components.errors import BundleError, OutputError
from medti_components.files import write_atomically, write_text_atomically
from medti_components.networks.base_model_folder import short_name

INFERENCE = "inference.json"
MODEL_INFO = "model_info.json"
HOSTED = "https://github.com/Project-MONAI/model-zoo/releases/download/hosting_storage_v1"
TEXTS = (".txt", ".md", ".conf", ".yml", ".py")
LARGE_FILES = "large_files.yml"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
MODE = 0o100644 << 16


def metadata_of_version(origin: Bundle, version: str, changelog: str) -> dict[str, Any]:
    """Return the bundle's metadata for ``version``; a line for the changelog makes it a new version.

    Raises:
        BundleError: the bundle can't be packaged, or the version does not fit its changelog.
    """
    if origin.is_packaged:
        raise BundleError(f"'{origin.folder}' is packaged already: package the bundle that it was made from")
    if origin.metadata is None or not isinstance(known := origin.metadata.get("changelog"), dict):
        raise BundleError(f"'{origin.folder}' has no configs/{METADATA} with a changelog: see validate {origin.folder}")
    if INFERENCE not in origin.configs:
        raise BundleError(f"'{origin.folder}' has no configs/{INFERENCE}, which the model zoo asks for: write one")
    if not VERSION.fullmatch(version):
        raise BundleError(f"version must be of the form 0.1.0, got '{version}'")
    if version in known and changelog:
        raise BundleError(f"version {version} is in the changelog already: leave out --changelog, or give another")
    if version not in known and not changelog:
        raise BundleError(
            f"version {version} is not in the changelog of configs/{METADATA}, which has {', '.join(known)}: "
            'give one of these, or say what is new by --changelog "..."'
        )
    return {**origin.metadata, "version": version, "changelog": {**known, version: changelog or known[version]}}


def fill(
    folder: Path,
    origin: Bundle,
    metadata: Mapping[str, Any],
    configs: dict[str, dict[str, Any]],
    given: Mapping[str, str | list[str]],
    summary: EvaluationSummary | None,
) -> None:
    """Put weights, configs and model card into the copy of the bundle."""
    base = base_model_folder(origin, configs[INFERENCE])
    weights = pack_weights(given, folder / "models", configs, base)
    base_model, sizes = f"`{configs[INFERENCE].get('base_model', '')}`, from the Hugging Face hub", {}
    if base is not None:
        base_model = f"`{short_name(str(base))}`, in `{pack_base_model(base, origin.folder, folder, configs)}`"
        sizes = base_model_sizes(base)
        metadata = with_sizes(metadata, sizes)
    if weights.phantoms:
        metadata = {**metadata, "data_source": f"{weights.phantoms}, in the files of: {metadata['data_source']}"}
    page = folder / "docs" / "README.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else f"# {metadata.get('name', origin.name)}\n"
    sheets = {
        f"contact_sheet_{number}.png": path for number, path in enumerate(summary.contact_sheets if summary else (), 1)
    }
    for name, path in sheets.items():
        shutil.copyfile(path, page.with_name(name))
    card = ModelCard(
        page=text,
        name=origin.name,
        metadata=metadata,
        configs=configs,
        base_model=base_model if "base_model" in configs[INFERENCE] else "",
        sizes={name: " x ".join(map(str, size)) for name, size in sizes.items()},
        contact_sheets=list(sheets),
        weights=weights,
        evaluation=summary,
    )
    if (folder / SCHEMA).is_file():  # with the keys that all bundles share
        write_text_atomically(folder / SCHEMA, json.dumps(ConfigSchema(folder).document, indent=4) + "\n")
    for name, content in {**configs, METADATA: metadata}.items():
        write_text_atomically(folder / "configs" / name, json.dumps(content, indent=4, ensure_ascii=False) + "\n")
    write_text_atomically(page, with_key_tables(card.text(), folder))


def with_sizes(metadata: Mapping[str, Any], sizes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return metadata with the sizes of a base model in place of those of another."""
    content: dict[str, Any] = json.loads(json.dumps(metadata))
    for place, of_place in content.get("network_data_format", {}).items():
        for name, described in of_place.items():
            if not isinstance(described, dict) or "spatial_shape" not in described:
                continue
            is_latent = place == "inputs" and name == "latent"
            size = sizes["latent" if is_latent else "image"]
            described["spatial_shape"] = [*size[1:]]
            if is_latent:
                described["num_channels"] = size[0]
                described["channel_def"] = {str(number): f"latent {number}" for number in range(size[0])}
    return content


def lay_out_texts(folder: Path) -> None:
    """Lay out all JSON and text as the model zoo's pre-commit does: four spaces, no space at an end of a line."""
    for path in Bundle(folder).files():
        if path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            write_text_atomically(path, json.dumps(content, indent=4) + "\n")
        elif path.suffix in TEXTS or path.name == "LICENSE":
            lines = [line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()]
            write_text_atomically(path, "\n".join(lines).rstrip("\n") + "\n")


def write_large_files(folder: Path, source: str) -> None:
    """Write ``large_files.yml``: files that the model zoo keeps out of Git, with their hashes and addresses.

    Args:
        folder: the bundle's.
        source: address of the archive; the files are to lie beside it, as ``<bundle>_<file>``.
    """
    place = source.rpartition("/")[0] or HOSTED
    lines = ["large_files:"]
    for name, path in Bundle(folder).named_files().items():
        if path.stat().st_size > MAX_BYTES_IN_GIT:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            url = f"{place}/{folder.name}_{name.removeprefix('models/').replace('/', '_')}"
            lines += [
                f'  - path: "{name}"',
                f'    url: "{url}"',
                f'    hash_val: "{sha256}"',
                '    hash_type: "sha256"',
            ]
    if len(lines) > 1:
        write_text_atomically(folder / LARGE_FILES, "\n".join(lines) + "\n")


def leave_out_pictures(folder: Path) -> None:
    """Remove pictures of the source's page that the model card does not show: other weights generated them."""
    card = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    for path in folder.glob("docs/*.png"):
        if f"({path.name})" not in card:
            path.unlink()


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` over all files of a bundle, as sha256sum does."""
    bundle = Bundle(folder)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {bundle.short(path)}\n" for path in bundle.files()]
    write_text_atomically(folder / CHECKSUMS, "".join(lines))


def write_archive(folder: Path, target: Path) -> int:
    """Write a bundle's files as ``<folder>/...`` into a zip and return their number.

    Names are sorted, times and permissions are fixed. Nothing is compressed: compressed bytes depend on zlib's version.

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
    """Add the archive to the ``model_info.json`` beside it, in the model zoo's form, and return the entry.

    Args:
        archive: the zip.
        source: address of the download; "" for the model zoo's own.

    Raises:
        OutputError: the ``model_info.json`` can't be read or written.
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
