# SPDX-License-Identifier: Apache-2.0
"""A hash that tells whether two transforms have the same settings."""

import enum
import hashlib
import threading
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import monai
import numpy as np
import torch

_NO_SETTINGS = (np.random.RandomState, np.random.Generator, torch.Generator, threading.local)


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
