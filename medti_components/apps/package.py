# SPDX-License-Identifier: Apache-2.0
"""The command ``package``: a bundle as one archive that runs anywhere and tells of no patient."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.utils import ensure_tuple

from medti_components.apps.bundle_checks.bundle import METADATA, Bundle
from medti_components.apps.bundle_checks.metadata import VERSION
from medti_components.apps.bundle_package.archive import write_archive, write_checksums, write_model_info
from medti_components.apps.bundle_package.component_copy import copy_components, require_components
from medti_components.apps.bundle_package.evaluation_summary import EvaluationSummary
from medti_components.apps.bundle_package.known_patients import KnownPatients
from medti_components.apps.bundle_package.model_card import NOT_CHECKED, ModelCard
from medti_components.apps.bundle_package.packed_weights import pack_weights
from medti_components.apps.bundle_package.patient_data import patient_data
from medti_components.apps.bundle_package.refusals import ensure_nothing_found, ensure_valid, shareable_evaluation
from medti_components.apps.bundle_package.standalone_configs import base_model_folder, merged_configs, pack_base_model
from medti_components.apps.key_tables import with_key_tables
from medti_components.bundle.schema import SCHEMA, ConfigSchema
from medti_components.errors import BundleError
from medti_components.files import ensure_writable_directory, write_text_atomically
from medti_components.networks.base_model_folder import short_name

INFERENCE = "inference.json"
COMPONENTS = ("copied", "pinned")


def package(
    bundle: str,
    output_dir: str,
    version: str,
    *,
    embeddings: str | list[str] = "",
    classifier: str = "",
    overlays: str | list[str] = "",
    components: str = "copied",
    evaluation: str = "",
    dataset_dir: str = "",
    changelog: str = "",
    source: str = "",
    override_verdict: bool = False,
) -> str:
    """Write <name>_v<version>.zip, which runs wherever it is unpacked, as MONAI's model zoo takes it.

    Equal input gives equal bytes. What goes in is looked through for patient data first: paths, identifiers, DICOM
    files and tags, and, with dataset_dir, the names and images of a data set.

    Args:
        bundle: the bundle's folder, such as bundles/prostate_mri_textual_inversion.
        output_dir: folder that gets the archive and the entry for model_info.json.
        version: one of the changelog in metadata.json, or a new one with --changelog.
        embeddings: the words to share: a folder or files of .safetensors.
        classifier: the classifier to share, where the bundle trains one.
        overlays: config files to merge in, such as configs/embedded.json, or "['a.json','b.json']".
        components: "copied" into the archive, or "pinned" as a requirement.
        evaluation: output_dir of an evaluating run, for the model card and its verdict on copies.
        dataset_dir: the training images, to be sure that neither they nor their names are in the archive.
        changelog: what is new in a version that metadata.json does not know yet.
        source: address where the archive will lie; by default the model zoo's.
        override_verdict: pack what the evaluation found not safe to share; the model card says so.
    """
    origin = Bundle(bundle)
    metadata = _metadata(origin, version, changelog)
    if components not in COMPONENTS:
        raise BundleError(f"components must be one of {', '.join(COMPONENTS)}, got '{components}'")
    summary = shareable_evaluation(evaluation, override_verdict)
    known = KnownPatients(dataset_dir, show_progress=True) if dataset_dir else None
    target = ensure_writable_directory(output_dir) / f"{origin.name}_v{version}.zip"
    laid_over = [Path(str(overlay)) for overlay in ensure_tuple(overlays)] if overlays else []
    given = {"embeddings": embeddings, "classifier": classifier}
    with tempfile.TemporaryDirectory(prefix="medti_package_") as temporary:
        folder = Path(temporary) / "package" / origin.name
        try:
            shutil.copytree(origin.folder, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        except OSError as error:
            raise BundleError(f"'{origin.folder}' can't be copied ({error}): restore what it names") from error
        configs = merged_configs(origin, laid_over)
        require_components(metadata, map(json.dumps, configs.values()), is_copied=components == "copied")
        _fill(folder, origin, metadata, configs, given, [path.name for path in laid_over], summary)
        copied = copy_components(folder) if components == "copied" else None
        ensure_nothing_found(patient_data(Bundle(folder).named_files(), copied, known), "packed")
        _leave_out_pictures(folder)
        write_checksums(folder)
        ensure_valid(folder, "packed")
        num_files = write_archive(folder, target)
    lines = [f"wrote {target}: {num_files} files, {target.stat().st_size / 1e6:.1f} MB", _compared(known)]
    lines += [NOT_CHECKED if summary is None or summary.verdict is None else f"Verdict on copies: {summary.verdict}"]
    return "\n".join([*lines, f"entry for model_info.json: {write_model_info(target, source)}"])


def _metadata(origin: Bundle, version: str, changelog: str) -> dict[str, Any]:
    """Return the bundle's metadata for ``version``."""
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


def _fill(
    folder: Path,
    origin: Bundle,
    metadata: Mapping[str, Any],
    configs: dict[str, dict[str, Any]],
    given: Mapping[str, str | list[str]],
    overlays: list[str],
    summary: EvaluationSummary | None,
) -> None:
    """Put weights, configs and model card into the copy of the bundle."""
    base = base_model_folder(origin, configs[INFERENCE])
    weights = pack_weights(given, folder / "models", configs, base)
    base_model = f"`{configs[INFERENCE].get('base_model', '')}`, from the Hugging Face hub"
    if base is not None:
        base_model = f"`{short_name(str(base))}`, in `{pack_base_model(base, origin.folder, folder, configs)}`"
    page = folder / "docs" / "README.md"
    card = ModelCard(
        page=page.read_text(encoding="utf-8") if page.is_file() else f"# {metadata.get('name', origin.name)}\n",
        name=origin.name,
        metadata=metadata,
        configs=configs,
        base_model=base_model if "base_model" in configs[INFERENCE] else "",
        weights=weights,
        overlays=overlays,
        evaluation=summary,
    )
    if (folder / SCHEMA).is_file():  # with what it has in common with other bundles
        write_text_atomically(folder / SCHEMA, json.dumps(ConfigSchema(folder).document, indent=4) + "\n")
    for name, content in {**configs, METADATA: metadata}.items():
        write_text_atomically(folder / "configs" / name, json.dumps(content, indent=4, ensure_ascii=False) + "\n")
    write_text_atomically(page, with_key_tables(card.text(), folder))


def _leave_out_pictures(folder: Path) -> None:
    """Remove pictures of the source's page that the model card does not show: other weights drew them."""
    card = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    for path in folder.glob("docs/*.png"):
        if f"({path.name})" not in card:
            path.unlink()


def _compared(known: KnownPatients | None) -> str:
    if known is None:
        return "No patient data found; to compare with the training images too, give --dataset_dir."
    return (
        f"No patient data found, nor any of {len(known.identifiers)} names, {known.num_files} files and "
        f"{known.num_pictures} pictures of '{known.folder}'."
    )
