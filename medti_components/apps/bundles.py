# SPDX-License-Identifier: Apache-2.0
"""The command ``bundles``: the bundles that come with the software, and a copy of one to work on."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from medti_components.bundle.error_line import nearest
from medti_components.bundle.shipped import shipped_root
from medti_components.errors import BundleError
from medti_components.files import ensure_writable_directory

BESIDE = re.compile(r"/\.\./(\w+)")


def bundles(action: str = "list", name: str = "", output_dir: str = "") -> Iterator[str]:
    """List the bundles that come with the software, or copy one to work on.

    ``medti bundles copy NAME DIR`` writes DIR/bundles/NAME, the bundles beside it that its configs refer to, and the
    overlays in DIR/configs. The commands of the pages then run from DIR as they are written.

    Args:
        action: list or copy.
        name: of the bundle to copy.
        output_dir: folder to copy to; a bundle that is there already is left alone, and is an error.
    """
    root = shipped_root()
    known = sorted(path.name for path in (root / "bundles").iterdir() if (path / "configs").is_dir())
    if action not in ("list", "copy"):
        raise BundleError(f"action must be list or copy, got '{action}': see medti bundles --help")
    if action == "list":
        for one in known:
            metadata = json.loads((root / "bundles" / one / "configs" / "metadata.json").read_text(encoding="utf-8"))
            yield f"{one}: {metadata['task']}"
        return
    if name not in known:
        near = nearest(name, known, cutoff=0.4)
        remedy = f"did you mean '{near}'?" if near else f"there are {', '.join(known)}"
        raise BundleError(f"no bundle is named '{name}': {remedy}")
    if not output_dir:
        raise BundleError(f"--output_dir must be given: write medti bundles copy {name} FOLDER")
    target = Path(output_dir)
    if (target / "bundles" / name).exists():
        raise BundleError(f"'{target / 'bundles' / name}' is there already: choose another folder")
    ensure_writable_directory(target)
    overlays = sorted((root / "configs").glob("*.json"))
    for one in [name, *_beside(root, name, overlays)]:
        if not (target / "bundles" / one).exists():
            ignored = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(root / "bundles" / one, target / "bundles" / one, ignore=ignored)
            yield f"wrote {target / 'bundles' / one}"
    for path in overlays:
        if not (target / "configs" / path.name).exists():
            (target / "configs").mkdir(exist_ok=True)
            shutil.copyfile(path, target / "configs" / path.name)
    yield f"overlays are in {target / 'configs'}"


def _beside(root: Path, name: str, overlays: list[Path]) -> list[str]:
    """Return the bundles that the configs of a bundle, and overlays, refer to as a folder beside the bundle's."""
    configs = [*overlays, *(root / "bundles" / name / "configs").glob("*.json")]
    found = {match for path in configs for match in BESIDE.findall(path.read_text(encoding="utf-8"))}
    return sorted(one for one in found - {name} if (root / "bundles" / one).is_dir())
