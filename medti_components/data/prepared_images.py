# SPDX-License-Identifier: Apache-2.0
"""Images ready for the base model, prepared once and kept on disk."""

import enum
import hashlib
import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import monai
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.utils.data import Dataset
from tqdm import tqdm

from medti_components.errors import DataError, MedtiError
from medti_components.files import ensure_writable_directory, save_tensors_atomically

logger = logging.getLogger(__name__)

_NO_SETTINGS = (np.random.RandomState, np.random.Generator, torch.Generator, threading.local)
_READING = {"monai.transforms.io.array", "monai.data.image_reader"}
_ABOUT_THE_CASE = ("concept", "label", "patient_id", "study_id", "mask_source")


class PreparedImages(Dataset):
    """Images (3, H, W) in [-1, 1] of a datalist; each is prepared once and reused from ``cache_dir`` afterwards.

    A prepared image is used again while its entry, the size and time of change of the files that the entry names, and
    the settings of the transform are the same.

    Args:
        datalist: entries with paths of source files, ``concept``, ``label``, ``patient_id``, ``study_id``.
        transform: turns an entry into a mapping with a float32 tensor ``image``, without randomness.
        cache_dir: folder of the prepared images, made where needed; None keeps them in memory.
        skip_unreadable: leave out entries that can't be prepared; they are logged, and counted at the end.
        show_progress: whether a bar with the time left goes to stderr.

    Raises:
        DataError: an entry can't be prepared; the message names the file.
        OutputError: ``cache_dir`` is not writable.

    Example:
        >>> entry = {"concept": "<a>", "label": 0, "patient_id": "1", "study_id": "2"}
        >>> images = PreparedImages([entry], lambda entry: {"image": torch.zeros(3, 4, 4)}, None, show_progress=False)
        >>> len(images), tuple(images[0]["image"].shape), images[0]["patient_id"]
        (1, (3, 4, 4), '1')
    """

    def __init__(
        self,
        datalist: Sequence[Mapping[str, Any]],
        transform: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        cache_dir: str | Path | None,
        skip_unreadable: bool = False,
        show_progress: bool = True,
    ) -> None:
        self.transform = transform
        self.cache_dir = None if cache_dir is None else ensure_writable_directory(cache_dir, "cache_dir")
        self.num_prepared = 0
        self.num_skipped = 0
        paths = _cached_paths(datalist, transform, self.cache_dir)
        num_missing = sum(path is None or not path.is_file() for path in paths)
        with tqdm(
            total=num_missing, desc="preparing images", unit="image", disable=not (show_progress and num_missing)
        ) as bar:
            images: dict[int, Path | torch.Tensor] = {}
            for index in sorted(range(len(datalist)), key=lambda index: _place_in_file(datalist[index])):
                entry, path = datalist[index], paths[index]
                if path is None or not path.is_file():
                    try:
                        image = self._prepare(entry, path)
                    except DataError as error:
                        if not skip_unreadable:
                            raise
                        logger.warning("left out: %s", error)
                        self.num_skipped += 1
                        continue
                    finally:
                        bar.update()
                    images[index] = image if path is None else path
                else:
                    images[index] = path
            self._entries = [datalist[index] for index in sorted(images)]
            self._images = [images[index] for index in sorted(images)]
        if self.num_skipped:
            logger.warning("%d of %d images are left out", self.num_skipped, len(datalist))

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return {"image": float32 (3, H, W) in [-1, 1]} and what the entry tells about the case."""
        entry, image = self._entries[index], self._images[index]
        if isinstance(image, Path):
            image = self._load(entry, image)
        return {"image": image, **{key: entry[key] for key in _ABOUT_THE_CASE if key in entry}}

    def _prepare(self, entry: Mapping[str, Any], path: Path | None) -> torch.Tensor:
        try:
            image = torch.as_tensor(self.transform(entry)["image"]).to(torch.float32)
        except Exception as error:
            # MONAI wraps what its transforms raise; a cause that is neither ours nor a reader's goes on as it came.
            cause = _own_cause(error) or _reading_error(error, entry)
            if cause is None or cause is error:
                raise
            raise cause from (cause.__cause__ or error)
        self.num_prepared += 1
        if path is not None:
            save_tensors_atomically(path, {"image": image})
        return image

    def _load(self, entry: Mapping[str, Any], path: Path) -> torch.Tensor:
        try:
            return load_file(path)["image"]
        except (SafetensorError, OSError, KeyError) as error:
            logger.warning("prepared image '%s' can't be read (%s) and is prepared again", path, error)
            return self._prepare(entry, path)


def unprepared(
    datalist: Sequence[Mapping[str, Any]],
    transform: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    cache_dir: str | Path | None,
) -> list[Mapping[str, Any]]:
    """Return the entries that :class:`PreparedImages` of the same arguments would prepare; nothing is made.

    >>> unprepared([{"label": 0}], lambda entry: entry, None)
    [{'label': 0}]
    """
    paths = _cached_paths(datalist, transform, None if cache_dir is None else Path(cache_dir))
    return [entry for entry, path in zip(datalist, paths, strict=True) if path is None or not path.is_file()]


def _cached_paths(
    datalist: Sequence[Mapping[str, Any]], transform: Any, cache_dir: Path | None
) -> list[Path] | list[None]:
    """Return where the prepared image of each entry lies, by its sources and the transform's settings."""
    if cache_dir is None:
        return [None] * len(datalist)
    settings = transform_fingerprint(transform)
    paths = []
    for entry in datalist:
        sources = {key: _source(value) for key, value in entry.items()}
        content = json.dumps([settings, sources], sort_keys=True, default=str)
        paths.append(cache_dir / f"{hashlib.sha256(content.encode()).hexdigest()}.safetensors")
    return paths


def _place_in_file(entry: Mapping[str, Any]) -> tuple[str, int]:
    """Return what entries are prepared by the order of: rows of one file in ascending order, others as they come."""
    return (str(entry.get("image")), int(entry["row"])) if "row" in entry else ("", 0)


def _source(value: Any) -> Any:
    """Return what identifies a value of an entry: for a file its place, size and time of change."""
    if isinstance(value, (str, Path)) and Path(value).is_file():
        status = Path(value).stat()
        return [str(Path(value).resolve()), status.st_size, status.st_mtime_ns]
    return value


def _own_cause(error: BaseException | None) -> MedtiError | None:
    while error is not None and not isinstance(error, MedtiError):
        error = error.__cause__
    return error


def _reading_error(error: BaseException, entry: Mapping[str, Any]) -> DataError | None:
    """Return the error of a case whose file MONAI could not read; None where something else went wrong."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    modules = {frame.f_globals["__name__"] for cause in causes for frame, _ in traceback.walk_tb(cause.__traceback__)}
    if not modules & _READING:
        return None
    files = [value for value in entry.values() if isinstance(value, (str, Path)) and Path(value).suffix]
    named = [str(file) for file in files if str(file) in str(causes[-1])] or [str(file) for file in files]
    reason = str(causes[-1]).strip().splitlines()[0] if str(causes[-1]).strip() else type(causes[-1]).__name__
    return DataError(
        f"'{named[0] if named else entry}' can't be read ({reason}): replace it, or leave such cases out by "
        "--skip_unreadable true"
    )


def transform_fingerprint(transform: Any) -> str:
    """Return a sha256 hex digest over the class and settings of a transform, of those in it, and MONAI's version.

    Random generators, and what MONAI notes per thread, do not count.

    >>> from monai.transforms import Compose, ScaleIntensity
    >>> same, other = Compose([ScaleIntensity(0.0, 1.0)]), Compose([ScaleIntensity(-1.0, 1.0)])
    >>> transform_fingerprint(same) == transform_fingerprint(Compose([ScaleIntensity(0.0, 1.0)]))
    True
    >>> transform_fingerprint(same) == transform_fingerprint(other)
    False
    """
    return hashlib.sha256(f"{monai.__version__} {_described(transform, ())}".encode()).hexdigest()


def _described(value: Any, parents: tuple[int, ...]) -> str:
    if id(value) in parents:
        return type(value).__name__
    parents = (*parents, id(value))
    if value is None or isinstance(value, (bool, int, float, str, bytes, enum.Enum, np.dtype, np.generic, torch.dtype)):
        return repr(value)
    if isinstance(value, PurePath):
        return repr(str(value))
    if isinstance(value, (np.ndarray, torch.Tensor)):
        array = np.asarray(value)
        return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"
    if isinstance(value, Mapping):
        items = sorted((_described(key, parents), _described(item, parents)) for key, item in value.items())
        return f"{{{', '.join(f'{key}: {item}' for key, item in items)}}}"
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(_described(item, parents) for item in value))}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_described(item, parents) for item in value)}]"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if hasattr(value, "__code__"):
        code = hashlib.sha256(value.__code__.co_code + repr(value.__code__.co_consts).encode()).hexdigest()
        return f"{value.__module__}.{value.__qualname__} {code if '<lambda>' in value.__qualname__ else ''}"
    attributes = getattr(value, "__dict__", {})
    settings = {name: item for name, item in attributes.items() if not isinstance(item, _NO_SETTINGS)}
    return f"{_described(type(value), parents)}({_described(settings, parents)})"
