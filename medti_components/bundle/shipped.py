# SPDX-License-Identifier: Apache-2.0
"""Where the bundles and overlays are that come with the software: in a checkout, or in the installed package."""

from pathlib import Path

import medti_components


def shipped_root() -> Path:
    """Return the folder that holds ``bundles/``, ``configs/`` and ``benchmarks/``.

    >>> (shipped_root() / "configs" / "embedded.json").is_file()
    True
    """
    package = Path(medti_components.__file__).resolve().parent
    installed = package / "shipped"
    return installed if installed.is_dir() else package.parent


def shipped_path(path: str | Path) -> Path:
    """Return ``path``; where there is nothing, what has this path under :func:`shipped_root`.

    >>> shipped_path("no/such.json").as_posix()
    'no/such.json'
    """
    own = shipped_root() / path
    return Path(path) if Path(path).exists() or not own.exists() else own
