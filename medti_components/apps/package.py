# SPDX-License-Identifier: Apache-2.0
"""The command ``package``: a bundle as one archive that runs anywhere and tells of no patient."""

import json
import shutil
import tempfile
from pathlib import Path

from medti_components.errors import BundleError
from medti_components.files import ensure_writable_directory

COMPONENTS = ("copied", "pinned")
NOT_COMPARED = "No patient data found; to compare with the training images too, give --dataset_dir."


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

    Equal input gives equal bytes. All files are searched for patient data first: paths, identifiers, DICOM files and
    tags, and, with dataset_dir, the names and images of a data set.

    Args:
        bundle: the bundle's folder, such as bundles/prostate_mri_textual_inversion.
        output_dir: folder for the archive and the entry for model_info.json.
        version: one of the changelog in metadata.json, or a new one with --changelog.
        embeddings: the embeddings to share: a folder or files of .safetensors.
        classifier: the classifier to share, where the bundle trains one.
        overlays: config files to merge in, such as configs/embedded.json, or "['a.json','b.json']".
        components: "copied" into the archive, or "pinned" as a requirement.
        evaluation: output_dir of the evaluating run of these words, which must have found them safe to share.
        dataset_dir: the training images; checks that neither they nor their names are in the archive.
        changelog: what is new in a version that metadata.json does not know yet.
        source: address where the archive will lie; by default the model zoo's.
        override_verdict: pack words that no evaluation found safe to share; the model card says so.
    """
    from medti_components.apps.bundle_checks.bundle import Bundle
    from medti_components.apps.bundle_checks.checks import ensure_valid
    from medti_components.apps.bundle_package import archive
    from medti_components.apps.bundle_package.component_copy import copy_components, require_components
    from medti_components.apps.bundle_package.known_patients import KnownPatients
    from medti_components.apps.bundle_package.model_card import NOT_CHECKED, shareable_evaluation
    from medti_components.apps.bundle_package.patient_data import ensure_nothing_found, patient_data
    from medti_components.apps.bundle_package.standalone_configs import merged_configs
    from medti_components.networks.embedding_files.embedding_file import embedding_paths, load_embedding

    origin = Bundle(bundle)
    metadata = archive.metadata_of_version(origin, version, changelog)
    if components not in COMPONENTS:
        raise BundleError(f"components must be one of {', '.join(COMPONENTS)}, got '{components}'")
    words = [load_embedding(path) for path in embedding_paths(embeddings)] if embeddings else []
    summary = shareable_evaluation(evaluation, words, override_verdict)
    known = KnownPatients(dataset_dir, show_progress=True) if dataset_dir else None
    target = ensure_writable_directory(output_dir) / f"{origin.name}_v{version}.zip"
    laid_over = [Path(str(overlay)) for overlay in ([overlays] if isinstance(overlays, str) else overlays) if overlay]
    given = {"embeddings": embeddings, "classifier": classifier}
    with tempfile.TemporaryDirectory(prefix="medti_package_") as temporary:
        folder = Path(temporary) / "package" / origin.name
        try:
            shutil.copytree(origin.folder, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        except OSError as error:
            raise BundleError(f"'{origin.folder}' can't be copied ({error}): restore what it names") from error
        configs = merged_configs(origin, laid_over)
        require_components(metadata, map(json.dumps, configs.values()), is_copied=components == "copied")
        archive.fill(folder, origin, metadata, configs, given, summary)
        copied = copy_components(folder) if components == "copied" else None
        ensure_nothing_found(patient_data(Bundle(folder).named_files(), copied, known), "packed")
        archive.leave_out_pictures(folder)
        archive.lay_out_texts(folder)
        archive.write_large_files(folder, source)
        archive.write_checksums(folder)
        ensure_valid(folder, "packed")
        num_files = archive.write_archive(folder, target)
    lines = [f"wrote {target}: {num_files} files, {target.stat().st_size / 1e6:.1f} MB"]
    lines += [NOT_COMPARED if known is None else f"No patient data found, nor any of {known.summary}."]
    verdicts = {} if summary is None else summary.verdicts
    lines += [f"Verdict on {about}: {said}" for about, said in verdicts.items()] or [NOT_CHECKED]
    return "\n".join([*lines, f"entry for model_info.json: {archive.write_model_info(target, source)}"])
