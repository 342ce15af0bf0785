# SPDX-License-Identifier: Apache-2.0
"""Random streams that depend on their names alone, so that resuming needs no stored state."""

import hashlib

import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """Derive a 63-bit seed from a run's seed and the names of its use.

    >>> stream_seed(0, "<a>", 7) == stream_seed(0, "<a>", 7)
    True
    >>> stream_seed(0, "<a>", 7) == stream_seed(0, "<b>", 7)
    False
    """
    digest = hashlib.sha256(repr((int(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def random_stream(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator that depends on ``seed`` and ``names`` alone, for instance (seed, token, step).

    Where pictures or embeddings are drawn it is on the CPU, so that they are the same on every device.

    >>> a, b = (torch.rand(3, generator=random_stream(0, "<a>", 7)) for _ in range(2))
    >>> bool((a == b).all())
    True
    """
    return torch.Generator(device).manual_seed(stream_seed(seed, *names))
