# SPDX-License-Identifier: Apache-2.0
"""Folders and files that a bundle must have, and the run ids of its configs."""

import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from medti_components.apps.bundle_checks.bundle import METADATA, Bundle
from medti_components.apps.bundle_checks.check_result import CheckSkipped
from medti_components.bundle.run import BUNDLE_CONFIGS

RUN_IDS = {
    "train.json": ("training",),
    "inference.json": ("generating", "classifying"),
    "evaluate.json": ("evaluating",),
}
INITIALIZE = {"_target_": "medti_components.bundle.run.initialize"}


def structure(bundle: Bundle) -> Iterator[str]:
    """Required files are there, JSON files can be read, and no file is a link to somewhere else."""
    for name, reason in bundle.unreadable.items():
        yield f"configs/{name} can't be read ({reason}): correct its JSON"
    required = [f"configs/{METADATA}", "configs/logging.conf", "docs/README.md"]
    if bundle.is_packaged:  # the zoo's own checks are handed inference.json alone
        required.append("configs/inference.json")
    for name in required:
        if not (bundle.folder / name).is_file():
            yield f"{name} is missing: write it"
    if not bundle.configs and not bundle.unreadable:
        yield f"configs/ has none of {', '.join(BUNDLE_CONFIGS)}: write what the bundle can run"
    for path in bundle.files():
        if path.is_symlink():
            yield f"{bundle.short(path)} is a symbolic link: put the file itself there"


def run_ids(bundle: Bundle) -> Iterator[str]:
    """Each config runs by its own id and by MONAI's default ``run``, and makes errors readable before all else."""
    for name, config in bundle.configs.items():
        for wanted in (RUN_IDS[name], ("run",)):
            if not any(isinstance(_macro_resolved(config, run_id), list) for run_id in wanted):
                yield f"configs/{name} has no list '{' or '.join(wanted)}': add it, with the expressions to run"
        first = config.get("initialize")
        if not bundle.is_packaged and not (isinstance(first, list) and first[:1] == [INITIALIZE]):
            yield f"configs/{name}: 'initialize' must be a list that begins with {INITIALIZE}: put it first"


def _macro_resolved(config: Mapping[str, Any], key: str) -> Any:
    """Return a top-level value, or the one that it stands for as a macro.

    >>> _macro_resolved({"training": ["$1"], "run": "%training"}, "run")
    ['$1']
    """
    value = config.get(key)
    return config.get(value[1:]) if isinstance(value, str) and value.startswith("%") else value


def state_dict(bundle: Bundle) -> Iterator[str]:
    """``models/model.pt`` of a packaged bundle is a plain state dict: tensors by name, loaded without running code."""
    if not bundle.is_packaged:
        raise CheckSkipped("no models/model.pt: the bundle is in its source form")
    remedy = "save a plain state dict, torch.save({name: tensor, ...}, 'models/model.pt')"
    try:
        content = torch.load(bundle.folder / "models" / "model.pt", map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        yield f"models/model.pt can't be loaded with weights_only=True ({str(error).splitlines()[0]}): {remedy}"
        return
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        yield f"models/model.pt must hold tensors by name, got {type(content).__name__}: {remedy}"
