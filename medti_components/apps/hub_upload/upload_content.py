# SPDX-License-Identifier: Apache-2.0
"""What is uploaded: a packaged bundle or embeddings, searched for patient data before, and the page for the hub."""

import hashlib
import re
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCardData

from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_checks.checks import ensure_valid
from medti_components.apps.bundle_checks.contents import CHECKSUMS
from medti_components.apps.bundle_package.archive import write_checksums
from medti_components.apps.bundle_package.component_copy import unchanged_copy
from medti_components.apps.bundle_package.known_patients import KnownPatients
from medti_components.apps.bundle_package.model_card import (
    PACKED_ALL_THE_SAME,
    EvaluationSummary,
    metrics_text,
    shareable_evaluation,
    sharing_text,
    words_table,
)
from medti_components.apps.bundle_package.packed_weights import STATE_DICT
from medti_components.apps.bundle_package.patient_data import ensure_nothing_found, patient_data
from medti_components.errors import BundleError, EmbeddingError
from medti_components.files import write_text_atomically
from medti_components.networks.embedding_files.embedding_file import (
    EmbeddingFile,
    embedding_paths,
    load_embedding,
    read_safetensors,
)

LICENCES = {"apache-2.0": "Apache License", "mit": "MIT License"}  # the hub's name, and what the text says
COMMON_LICENCE = re.compile(r"cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-\d\.\d|apache-2\.0|mit")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
RELATIVE_LINK = re.compile(r"\]\((?!\w+:|#|/)")


def bundle_card(bundle: Bundle, licence: str) -> str:
    """Return the page of a packaged bundle: the hub's front matter, then the model card ``docs/README.md``."""
    config = bundle.configs["inference.json"]
    text = (bundle.folder / "docs" / "README.md").read_text(encoding="utf-8")
    is_classifier = "classifier" in config
    words = ["textual-inversion"] if "embeddings" in config else []
    facts = ModelCardData(
        **_licence(licence or _licence_of(bundle.folder / "LICENSE"), "LICENSE"),
        library_name="monai",
        pipeline_tag="image-classification" if is_classifier else "text-to-image",
        tags=["monai", "medical", *words, *(() if is_classifier else ["synthetic"])],
        **_base_model(str(config.get("base_model", ""))),
    )
    return _page(facts, RELATIVE_LINK.sub("](docs/", text))


def words_card(repo_id: str, words: Sequence[EmbeddingFile], evaluation: EvaluationSummary | None, licence: str) -> str:
    """Return the page of a repository that holds only embeddings."""
    terms = {re.sub("^phantoms .*", "phantoms", word.metadata.get("data_license", "unknown")) for word in words}
    learned_on = {word.metadata.get("base_model", "") for word in words}
    base_model = learned_on.pop() if len(learned_on) == 1 else ""
    shown = base_model if HUB_ID.fullmatch(base_model) else "<the base model>"
    facts = ModelCardData(
        **_licence(licence or (terms.pop() if len(terms) == 1 else "several")),
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=["medical", "textual-inversion", "synthetic"],
        **_base_model(base_model),
    )
    first = words[0]
    text = f"""# {repo_id.partition("/")[2]}

Words that a frozen latent diffusion model learned from medical images by textual inversion, each a safetensors file of
one tensor, whose key is the word. What they draw is synthetic.

## Model overview

{words_table(words)}

## Data

The images that the words were learned from are not in this repository; their terms are in the table.

## Use

```python
from diffusers import StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained("{shown}")
pipe.load_textual_inversion("{repo_id}", weight_name="{first.path.name}", token="{first.token}")
pipe("{first.token}").images[0].save("image.png")
```

A word is worth something only with the base model that it was learned on.

## Performance

{metrics_text(evaluation)}

### Verdicts

{sharing_text(evaluation, are_words=True)}

## Limits

Research and teaching. Not for diagnosis.
"""
    return _page(facts, text)


def _page(facts: ModelCardData, text: str) -> str:
    return f"---\n{facts.to_yaml()}\n---\n\n{text}"


def _licence_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return next((name for name, title in LICENCES.items() if title in text), "unknown")


def _licence(terms: str, file: str = "") -> dict[str, Any]:
    """Return a licence as the hub takes it: by a name that it knows, or as "other" with the licence's own name.

    >>> _licence("CC BY-NC 4.0")
    {'license': 'cc-by-nc-4.0'}
    >>> _licence("terms of the hospital")
    {'license': 'other', 'license_name': 'terms-of-the-hospital'}
    """
    name = re.sub(r"[^\w.]+", "-", terms.lower()).strip("-")
    if COMMON_LICENCE.fullmatch(name):
        return {"license": name}
    return {"license": "other", "license_name": name} | ({"license_link": file} if file else {})


def _base_model(name: str) -> Mapping[str, Any]:
    """Return what the hub links to; empty for a base model that is not on it."""
    return {"base_model": name, "base_model_relation": "adapter"} if HUB_ID.fullmatch(name) else {}


CARD = "README.md"
UPLOADED = "uploaded"
PROTOCOL = b"\x80"  # a pickle's first operation
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True)
class UploadContent:
    """Files for a repository.

    Args:
        folder: the folder of the files; its ``README.md`` is the page.
        version: of the bundle; "" for embeddings.
    """

    folder: Path
    version: str = ""

    @property
    def files(self) -> dict[str, Path]:
        """The files by their path in the repository."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in paths}

    @property
    def card(self) -> str:
        """The page."""
        return (self.folder / CARD).read_text(encoding="utf-8")

    def summary(self, num_lines: int) -> str:
        """Return each file's sha256, size in bytes and name, the total, and the first lines of the page."""
        files = self.files
        sizes = {name: path.stat().st_size for name, path in files.items()}
        lines = [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {sizes[name]:>10}  {name}"
            for name, path in files.items()
        ]
        head = self.card.splitlines()[:num_lines]
        return "\n".join(
            [*lines, f"total: {len(files)} files, {sum(sizes.values()):,} bytes", f"{CARD} begins:", *head]
        )


def is_bundle(source: Path) -> bool:
    """Return whether ``source`` is a bundle's folder or archive, rather than embeddings.

    Raises:
        BundleError: it is a pickle.
    """
    if source.is_dir():
        return (source / "configs").is_dir()
    _ensure_no_pickle(source)
    return source.is_file() and zipfile.is_zipfile(source)


def bundle_content(
    source: Path, folder: Path, known: KnownPatients | None, licence: str, override_verdict: bool
) -> UploadContent:
    """Lay out a packaged bundle in ``folder`` with a page for the hub.

    Args:
        source: archive or folder.
        folder: an empty one, which gets a copy.
        known: names and images of a data set to look for.
        licence: for the page; "" reads LICENSE.
        override_verdict: accept a bundle that was packed although no evaluation found it safe to share.

    Raises:
        BundleError: it is not packaged, not valid, not safe to share, or has traces of patients.
    """
    bundle = Bundle(_unpacked(source, folder) if source.is_file() else _copied(source, folder))
    if not bundle.is_packaged:
        raise BundleError(f"'{source}' is a bundle's source: package it first, and push the archive")
    ensure_valid(bundle.folder, UPLOADED)
    found = patient_data(bundle.named_files(), unchanged_copy(bundle.folder), known)
    ensure_nothing_found([*found, *_unknown_tensors(bundle)], UPLOADED)
    page = bundle.folder / "docs" / CARD
    if PACKED_ALL_THE_SAME in page.read_text(encoding="utf-8") and not override_verdict:
        raise BundleError(
            f"'{source}' says that no evaluation found it safe to share: share other words, or give "
            "--override_verdict true"
        )
    write_text_atomically(bundle.folder / CARD, bundle_card(bundle, licence))
    (bundle.folder / CHECKSUMS).unlink()
    write_checksums(bundle.folder)  # with the page
    return UploadContent(bundle.folder, str((bundle.metadata or {})["version"]))


def words_content(
    source: str | Sequence[str],
    folder: Path,
    known: KnownPatients | None,
    repo_id: str,
    evaluation: str,
    licence: str,
    override_verdict: bool,
) -> UploadContent:
    """Lay out embeddings in ``folder`` with a page for the hub.

    Args:
        source: folder or files of the words.
        folder: an empty one, which gets a copy.
        known: names and images of a data set to look for.
        repo_id: of the repository.
        evaluation: ``output_dir`` of the evaluation of these words, or "".
        licence: for the page; "" takes that of the words' data.
        override_verdict: accept words that no evaluation found safe to share.

    Raises:
        EmbeddingError: a file is no embedding, or two hold the same.
        BundleError: a file is a pickle, or has traces of patients; no evaluation found the words safe to share.
    """
    paths = embedding_paths(source)
    for path in paths:
        _ensure_no_pickle(path)
    words = [load_embedding(path) for path in paths]
    for kind, values in {"hold": [word.token for word in words], "are called": [path.name for path in paths]}.items():
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise EmbeddingError(f"two files {kind} '{twice[0]}': give one of them")
    summary = shareable_evaluation(evaluation, words, override_verdict)
    ensure_nothing_found(patient_data({path.name: path for path in paths}, None, known), UPLOADED)
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        shutil.copyfile(path, folder / path.name)
    write_text_atomically(folder / CARD, words_card(repo_id, words, summary, licence))
    return UploadContent(folder)


def _ensure_no_pickle(path: Path) -> None:
    if not path.is_file():
        return
    with open(path, "rb") as file:
        start = file.read(9)
    starts_as_one = start[:1] == PROTOCOL and start[8:] != b"{"  # a header of safetensors may be 128 bytes long
    is_saved = zipfile.is_zipfile(path) and _holds_pickle(path)
    if starts_as_one or is_saved or path.suffix.lower() in PICKLES:
        raise BundleError(
            f"'{path}' is a pickle, which can run programs where it is opened: convert it by 'python -m "
            "medti_components embedding import', and push what that writes"
        )


def _holds_pickle(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.count("/") == 1 and name.endswith("/data.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _unpacked(archive: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(archive) as file:
            names = {name.split("/")[0] for name in file.namelist()}
            file.extractall(folder)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise BundleError(f"'{archive}' can't be unpacked ({error}): package the bundle again") from error
    if len(names) != 1:
        raise BundleError(f"'{archive}' must hold one folder, a bundle, got {len(names)}: package the bundle again")
    return folder / names.pop()


def _copied(source: Path, folder: Path) -> Path:
    left_out = shutil.ignore_patterns("__pycache__", ".DS_Store")
    try:
        return Path(shutil.copytree(source, folder / source.resolve().name, ignore=left_out))
    except (OSError, shutil.Error) as error:
        raise BundleError(f"'{source}' can't be copied ({error}): restore what it names") from error


def _unknown_tensors(bundle: Bundle) -> list[str]:
    """Name the tensors of ``models/model.pt`` that no safetensors file has: nothing else checks that file."""
    models = bundle.folder / "models"
    state = torch.load(models / STATE_DICT, map_location="cpu", weights_only=True)
    known = {_digest(tensor) for path in models.rglob("*.safetensors") for tensor in read_safetensors(path)[0].values()}
    unknown = [name for name, tensor in state.items() if _digest(tensor) not in known]
    return [f"models/{STATE_DICT} holds '{name}', which no safetensors file beside it has" for name in unknown]


def _digest(tensor: torch.Tensor) -> bytes:
    content = tensor.detach().to(torch.float32).contiguous()
    return hashlib.sha256(f"{tuple(content.shape)}".encode() + content.numpy().tobytes()).digest()
