# SPDX-License-Identifier: Apache-2.0
"""Reading and writing learned words: safetensors files that hold one tensor whose key is the token.

``pipe.load_textual_inversion(file)`` of diffusers reads them as they are. PyTorch is imported in the functions that
return its tensors alone: to import it takes longer than to look into a file.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open

from medti_components.errors import EmbeddingError
from medti_components.files import save_tensors_atomically

if TYPE_CHECKING:
    from torch import Tensor


CONCEPT_TOKEN = re.compile(r"<[A-Za-z0-9_-]+>")
NUMPY_PRECISIONS = {"F16", "F32", "F64", "I64", "I32", "I16", "I8", "U8", "BOOL"}
"""Precisions of safetensors files that NumPy has too."""
WINDOWS_DEVICE = re.compile(r"con|prn|aux|nul|com\d|lpt\d")
MAX_NAME = 64
MAX_BYTES = 16_000_000  # 75 vectors of any text encoder take 0.5 MB at most; as text in a picture, ten times that
IMPORT_IT = "import another tool's file by 'python -m medti_components embedding import'"


def ensure_concept_token(token: str) -> str:
    """Return ``token`` when it is of the form ``<word>`` (letters, digits, '_' and '-').

    The angle brackets keep one token from being the beginning of another, which plain text replacement, as in
    diffusers, would mangle.

    Raises:
        EmbeddingError: it is of another form.

    >>> ensure_concept_token("<prostate_mri_negative>")
    '<prostate_mri_negative>'
    """
    if not isinstance(token, str) or not CONCEPT_TOKEN.fullmatch(token):
        raise EmbeddingError(
            f"concept token must be a word in angle brackets like '<prostate_mri_positive>', got {token!r:.100}: "
            "use letters, digits, '_' and '-'"
        )
    return token


def ensure_new_token(token: str) -> str:
    """Return ``token`` when it can be the name of a new word for every tool and file system.

    Raises:
        EmbeddingError: it is of another form, or another tool or file system would change it.

    >>> ensure_new_token("<MRI_positive>")
    Traceback (most recent call last):
    ...
    medti_components.errors.EmbeddingError: the name of a new word must be lower case, got '<MRI_positive>': diffusers
    writes prompts in lower case and would read one vector of it alone, so take '<mri_positive>'
    """
    if fault := name_fault(ensure_concept_token(token)):
        raise EmbeddingError(f"the name of a new word must be {fault}")
    return token


def name_fault(token: str) -> str:
    """Return what of a token another tool or file system would change, as ``must be``; "" for nothing.

    >>> name_fault("<mri_positive>"), name_fault("<con>")
    ('', "no name of a device of Windows, got '<con>': a file of it can't be written there, take another name")
    """
    name = token.strip("<>")
    if token != token.lower():
        return (
            f"lower case, got '{token}': diffusers writes prompts in lower case and would read one vector of it alone, "
            f"so take '{token.lower()}'"
        )
    if len(name) > MAX_NAME:
        return f"at most {MAX_NAME} characters long, got {len(name)}: names of files would be cut, take a shorter one"
    if WINDOWS_DEVICE.fullmatch(name):
        return f"no name of a device of Windows, got '{token}': a file of it can't be written there, take another name"
    return ""


def ensure_case_differs(tokens: Iterable[str]) -> None:
    """Check that no two words differ in case alone: file systems and diffusers would take one for the other.

    Raises:
        EmbeddingError: two do.
    """
    seen: dict[str, str] = {}
    for token in tokens:
        other = seen.setdefault(token.lower(), token)
        if other != token:
            raise EmbeddingError(f"'{other}' and '{token}' differ in case alone: give one of them another name")


def concept_name(token: str) -> str:
    """Return the token without its angle brackets, as it names files.

    >>> concept_name("<prostate_mri_negative>")
    'prostate_mri_negative'
    """
    return ensure_concept_token(token)[1:-1]


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor as a file holds it, to be looked into without PyTorch.

    Attributes:
        numbers: its values; those of a precision that NumPy does not have, such as bfloat16, are float32.
        precision: the file's own, by PyTorch's name, such as 'bfloat16'.

    >>> StoredTensor(np.ones((2, 3), dtype=np.float32), "bfloat16").tensor().dtype
    torch.bfloat16
    """

    numbers: np.ndarray
    precision: str

    @classmethod
    def of(cls, tensor: "Tensor") -> "StoredTensor":
        """Return a tensor of PyTorch as one of a file."""
        precision = str(tensor.dtype).removeprefix("torch.")
        is_in_numpy = precision in ("float16", "float32", "float64")
        return cls((tensor if is_in_numpy else tensor.float()).detach().cpu().numpy(), precision)

    def tensor(self) -> "Tensor":
        """Return it as a tensor of PyTorch, in the file's own precision."""
        import torch

        return torch.tensor(self.numbers).to(getattr(torch, self.precision))


@dataclass(frozen=True)
class EmbeddingFile:
    """One learned word as read from a file.

    Attributes:
        token: the word, ``<word>``.
        rows: its vectors, float32 (n, width).
        metadata: provenance, strings only.
        path: the file.
        sha256: hash of the file's bytes, hex.
    """

    token: str
    rows: "Tensor"
    metadata: Mapping[str, str]
    path: Path
    sha256: str


def save_embedding(path: str | Path, token: str, rows: "Tensor", metadata: Mapping[str, str]) -> None:
    """Write ``rows`` (n, width) as float32 under the key ``token``, in one piece.

    Raises:
        EmbeddingError: rows are not two-dimensional, empty or not finite; a metadata value is no string; a bad token.
        OutputError: the file can't be written.
    """
    ensure_concept_token(token)
    ensure_rows(StoredTensor.of(rows), f"embedding of '{token}'")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise EmbeddingError(f"metadata '{key}' of '{token}' must be a string, got {type(value).__name__}")
    save_tensors_atomically(path, {token: rows.detach().float()}, metadata)


def load_embedding(path: str | Path) -> EmbeddingFile:
    """Read one learned word.

    Raises:
        EmbeddingError: the file is missing, no safetensors file, or does not hold one finite tensor (n, width) whose
            key is a token ``<word>``.
    """
    path = Path(path)
    content = read_content(path)
    tensors, metadata = stored_tensors(path)
    if len(tensors) != 1:
        raise EmbeddingError(
            f"'{path}' must hold one tensor, its key the token, got {len(tensors)} ({listed(list(tensors))}): "
            f"is it an embedding file? {IMPORT_IT}"
        )
    ((token, rows),) = tensors.items()
    try:
        ensure_concept_token(token)
    except EmbeddingError as error:
        raise EmbeddingError(f"'{path}': {error}, or {IMPORT_IT}") from error
    ensure_rows(rows, f"'{path}'")
    return EmbeddingFile(token, rows.tensor().float(), metadata, path, hashlib.sha256(content).hexdigest())


def read_content(path: Path) -> bytes:
    """Return the bytes of an embedding file.

    Raises:
        EmbeddingError: the file is missing, unreadable or larger than any embedding.
    """
    if not path.is_file():
        raise EmbeddingError(f"embedding file '{path}' does not exist: give its path")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise EmbeddingError(
                f"'{path}' must be at most {MAX_BYTES / 1e6:.0f} MB, as any embedding is, got {size / 1e6:.0f} MB: "
                "is it a whole model?"
            )
        return path.read_bytes()
    except OSError as error:
        raise EmbeddingError(f"'{path}' can't be read ({error.strerror}): check its permissions") from error


def read_safetensors(path: Path) -> tuple[dict[str, "Tensor"], dict[str, str]]:
    """Return the tensors of a safetensors file by name, and its metadata.

    Raises:
        EmbeddingError: as :func:`stored_tensors` has it.
    """
    tensors, metadata = stored_tensors(path)
    return {name: tensor.tensor() for name, tensor in tensors.items()}, metadata


def stored_tensors(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Return the tensors of a safetensors file by name, and its metadata; PyTorch reads what NumPy can't.

    Raises:
        EmbeddingError: the file is no safetensors file, truncated, or of a precision that PyTorch does not have.
    """
    try:
        with safe_open(path, framework="np") as file:
            names, metadata = list(file.keys()), file.metadata() or {}
            if all(file.get_slice(name).get_dtype() in NUMPY_PRECISIONS for name in names):
                arrays = {name: file.get_tensor(name) for name in names}
                return {name: StoredTensor(array, array.dtype.name) for name, array in arrays.items()}, metadata
        with safe_open(path, framework="pt") as file:
            return {name: StoredTensor.of(file.get_tensor(name)) for name in names}, metadata
    except (SafetensorError, OSError, TypeError, ValueError, RuntimeError) as error:
        raise EmbeddingError(
            f"'{path}' is not a whole safetensors file ({one_line(error)}): copy it again, or {IMPORT_IT}"
        ) from error


def embedding_paths(folder_or_files: str | Path | Sequence[str | Path]) -> list[Path]:
    """List the embedding files of a folder (sorted by name), or the files given.

    Raises:
        EmbeddingError: nothing is given, or the folder is missing or holds no ``*.safetensors`` file.
    """
    if isinstance(folder_or_files, (str, Path)):
        path = Path(folder_or_files)
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise EmbeddingError(f"embeddings '{path}' is neither a folder nor a file: give one by --embeddings")
        found = sorted(file for file in path.glob("*.safetensors") if not file.name.startswith("."))
        if not found:
            raise EmbeddingError(f"embeddings folder '{path}' holds no *.safetensors file: train first or give another")
        return found
    files = [Path(file) for file in folder_or_files]
    if not files:
        raise EmbeddingError("embeddings must name a folder or at least one file, got an empty list")
    return files


def ensure_rows(rows: StoredTensor, what: str) -> None:
    """Check that ``rows`` are a matrix (n, width) of finite floating-point numbers.

    Raises:
        EmbeddingError: they are not; the message begins with ``what``.
    """
    numbers = rows.numbers
    if numbers.ndim != 2 or 0 in numbers.shape or "float" not in rows.precision:
        raise EmbeddingError(
            f"{what} must hold floating-point rows of shape (vectors, width), got {numbers.shape} "
            f"torch.{rows.precision}"
        )
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(numbers.astype(np.float32)).all()
    if not is_finite:
        raise EmbeddingError(
            f"{what} holds values that are not finite: the training diverged, lower learning_rate; or it is damaged"
        )


def listed(names: Sequence[str]) -> str:
    """Name the first few of ``names``.

    >>> listed(["a", "b"])
    "'a', 'b'"
    """
    shown = ", ".join(f"'{printable(name)}'" for name in names[:4])
    return (shown + ", ..." if len(names) > 4 else shown) or "none"


def printable(text: object, length: int = 200) -> str:
    """Return what a file says as text that is safe to show: one line, no control characters, not endless.

    >>> printable("a\\x1b[31m")
    'a?[31m'
    """
    return "".join(character if character.isprintable() else "?" for character in str(text)[:length])


def one_line(error: Exception) -> str:
    """Return a library's message as one line, or the error's kind where it says nothing."""
    return printable(" ".join(str(error).split())) or type(error).__name__
