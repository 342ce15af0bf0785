# SPDX-License-Identifier: Apache-2.0
"""The command ``push``: a packaged bundle or learned words to the Hugging Face hub."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from medti_components.errors import BundleError

NUM_CARD_LINES = 30


def push(
    source: str | list[str],
    repo_id: str,
    *,
    private: bool = True,
    revision: str = "main",
    license: str = "",
    evaluation: str = "",
    dataset_dir: str = "",
    override_verdict: bool = False,
    replace: bool = False,
    endpoint: str = "",
    dry_run: bool = False,
) -> Iterator[str]:
    """Upload a packaged bundle, or learned words, to the Hugging Face hub.

    This refuses what package refuses: traces of patients, bundles that are not valid, words that no evaluation found
    safe to share. It refuses pickles too. Nothing is uploaded twice: after an upload that broke off, only the rest
    is sent.

    Args:
        source: archive of package, the folder it was unpacked in, or words: a folder or files of .safetensors.
        repo_id: owner/name of a model repository; a missing one is made.
        private: whether only its owner sees it.
        revision: branch of the repository.
        license: for the page, such as cc-by-nc-4.0; by default that of the bundle, or of the words' data.
        evaluation: of words, the output_dir of their evaluating run; a bundle's is in its archive.
        dataset_dir: the training images; checks that neither they nor their names are uploaded.
        override_verdict: upload words that no evaluation found safe to share; the page says so.
        replace: remove all other files from the branch.
        endpoint: address of the hub; by default that of HF_ENDPOINT, or huggingface.co.
        dry_run: show what would be uploaded, and stop; needs neither token nor network.
    """
    from medti_components.apps.bundle_package.known_patients import KnownPatients
    from medti_components.apps.hub_upload.hub_repository import HubRepository
    from medti_components.apps.hub_upload.upload_content import bundle_content, is_bundle, words_content

    repository = HubRepository(repo_id, revision, endpoint)
    known = KnownPatients(dataset_dir, show_progress=True) if dataset_dir else None
    with tempfile.TemporaryDirectory(prefix="medti_push_") as temporary:
        folder = Path(temporary) / "content"
        if isinstance(source, str) and is_bundle(Path(source)):
            if evaluation:
                raise BundleError("--evaluation is for words: give it to package, which puts it into the archive")
            content = bundle_content(Path(source), folder, known, license, override_verdict)
        else:
            content = words_content(source, folder, known, repo_id, evaluation, license, override_verdict)
        if dry_run:
            visibility = "private" if private else "public"
            yield f"would be uploaded to {repository.address}, {visibility} where it is made, branch {revision}:"
            yield content.summary(NUM_CARD_LINES)
            return
        message = f"Version {content.version}" if content.version else "Learned words"
        yield from repository.upload(content.files, message, private, content.version, replace)
